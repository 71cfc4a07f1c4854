"""The results of a store in an S3 bucket, shared by machines that have no filesystem in common: TWIN_STORE_S3=s3://BUCKET/PREFIX.

    PREFIX/results/<stage>/<fingerprint>/blobs/<sha256>      the files, each under the digest of its content
    PREFIX/results/<stage>/<fingerprint>/manifest.json       written last, and only if there is none: two machines never mix

A file that is not named by a manifest is no part of a result, so an upload that is cut off leaves nothing that is taken for one. Its files
go after a day (`sweep`): no upload takes that long. Keys, secret and endpoint are read from AWS_* as other programs do.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.errors import ConfigError, StoreError

URL = "TWIN_STORE_S3"
AT_ONCE = 8
"""transfers; what takes time is the way there and back"""
UNFINISHED_S = 86400.0
CHUNK_BYTES = 8 << 20
_CLIENT = {"timeout": "300s", "connect_timeout": "10s"}
_RETRIES = {"max_retries": 6, "retry_timeout": datetime.timedelta(seconds=60)}
_RESULT = re.compile(r"results/(?P<stage>[A-Za-z0-9_]+)/(?P<fingerprint>[0-9a-f]{64})/(?P<rest>manifest\.json|blobs/[0-9a-f]{64})")


class RemoteTrouble(Exception):
    """The bucket did not do what it was asked; the message says what it answered."""


@dataclass
class RemoteResult:
    """One result in the bucket."""

    stage: str
    fingerprint: str
    written: float = 0.0
    """when its manifest came, since the epoch; 0 while it has none"""
    bytes: int = 0
    blobs: dict[str, float] = field(default_factory=dict)
    """when each file came"""


class RemoteResults:
    """One bucket, or a folder in it. Methods raise RemoteTrouble where the bucket does not answer or refuses."""

    def __init__(self, url: str) -> None:
        if not re.fullmatch(r"s3://[^/]+(/.*)?", url):
            raise ConfigError(f"{URL}={url} names no bucket", "give s3://BUCKET or s3://BUCKET/FOLDER")
        self.url = url
        self._client: Any = None
        self._of_process = 0

    def check(self) -> None:
        """Once, before work: whether the bucket can be listed at all. Raises StoreError."""
        try:
            with _Asking():
                next(iter(self._obs().list(self._bucket(), "results/", chunk_size=1)), None)
        except RemoteTrouble as e:
            raise StoreError(f"the bucket of {URL}={self.url} cannot be used: {e}",
                             "see AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and whether it is there") from e

    def manifest(self, stage: str, fingerprint: str) -> bytes | None:
        """As it was written; None if there is no such result."""
        return self._get(f"{_place(stage, fingerprint)}/manifest.json")

    def fetch(self, stage: str, fingerprint: str, files: dict[str, dict[str, Any]], folder: Path) -> bool:
        """The files of a manifest into `folder`, not checked; False if one is not there: it has been removed meanwhile."""
        place = _place(stage, fingerprint)
        digests = {name: entry["sha256"] for name, entry in files.items()}
        for name in digests:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        return all(self._many(lambda name: self._download(f"{place}/blobs/{digests[name]}", folder / name), digests))

    def push(self, stage: str, fingerprint: str, folder: Path, manifest: tuple[bytes, dict[str, dict[str, Any]]], replace: bool) -> bool:
        """The files first, then the manifest (its bytes; its files). False if another machine's was there before and is not to be replaced:
        then that one counts."""
        place, (data, files) = _place(stage, fingerprint), manifest
        if not replace and self.manifest(stage, fingerprint) is not None:
            return False
        by_digest = {entry["sha256"]: folder / name for name, entry in files.items()}
        self._many(lambda digest: self._upload(f"{place}/blobs/{digest}", by_digest[digest]), by_digest)
        obs = self._obs()
        try:
            with _Asking():
                obs.put(self._bucket(), f"{place}/manifest.json", data, mode="overwrite" if replace else "create")
        except obs.exceptions.AlreadyExistsError:
            return False
        return True

    def results(self) -> Iterator[RemoteResult]:
        """All, those without a manifest too."""
        now: RemoteResult | None = None
        with _Asking():
            for entry in (e for chunk in self._obs().list(self._bucket(), "results/") for e in chunk):
                if (found := _RESULT.fullmatch(entry["path"])) is None:
                    continue
                if now is None or (now.stage, now.fingerprint) != (found["stage"], found["fingerprint"]):
                    if now is not None:
                        yield now
                    now = RemoteResult(found["stage"], found["fingerprint"])
                now.bytes += entry["size"]
                if found["rest"] == "manifest.json":
                    now.written = entry["last_modified"].timestamp()
                else:
                    now.blobs[found["rest"].removeprefix("blobs/")] = entry["last_modified"].timestamp()
        if now is not None:
            yield now

    def remove(self, result: RemoteResult) -> None:
        """The manifest first: from then on it is no result."""
        place = _place(result.stage, result.fingerprint)
        with _Asking():
            self._obs().delete(self._bucket(), [f"{place}/manifest.json"])
            self._obs().delete(self._bucket(), [f"{place}/blobs/{digest}" for digest in result.blobs])

    def sweep(self, result: RemoteResult, now: float, dry_run: bool = False) -> int:
        """Files older than a day of an upload that never came to its manifest; how many."""
        if result.written:
            return 0
        old = [digest for digest, came in result.blobs.items() if came < now - UNFINISHED_S]
        if old and not dry_run:
            place = _place(result.stage, result.fingerprint)
            with _Asking():
                self._obs().delete(self._bucket(), [f"{place}/blobs/{digest}" for digest in old])
        return len(old)

    def _get(self, key: str) -> bytes | None:
        try:
            with _Asking():
                return bytes(self._obs().get(self._bucket(), key).bytes())
        except FileNotFoundError:
            return None

    def _download(self, key: str, path: Path) -> bool:
        try:
            with _Asking():
                stream = self._obs().get(self._bucket(), key).stream(min_chunk_size=CHUNK_BYTES)
        except FileNotFoundError:
            return False
        with path.open("wb") as file, _Asking():
            for chunk in stream:
                file.write(chunk)
        return True

    def _upload(self, key: str, path: Path) -> None:
        with _Asking():
            self._obs().put(self._bucket(), key, path)

    def _many(self, job, items) -> list[Any]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(job, items))

    def _bucket(self) -> Any:
        """The client, of this process: its threads do not outlive a fork."""
        if self._client is None or self._of_process != os.getpid():
            from obstore.store import from_url

            plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
            with _Asking():
                self._client = from_url(self.url, client_options={**_CLIENT, "allow_http": plain}, retry_config=_RETRIES)
            self._of_process = os.getpid()
        return self._client

    def _obs(self) -> Any:
        try:
            import obstore
        except ImportError as e:
            raise ConfigError(f"{URL} is set, and obstore is not installed", "pip install 'stereotwin[s3]', or unset it") from e
        return obstore


class _Asking:
    """Turns what the client raises into RemoteTrouble; what is not there, or is there already, stays what it is."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None or not kind.__module__.startswith("obstore") or kind.__name__ == "AlreadyExistsError":
            return
        raise RemoteTrouble(" ".join(str(error).partition("Debug source")[0].split())[:300]) from error


def _place(stage: str, fingerprint: str) -> str:
    return f"results/{stage}/{fingerprint}"


def of_environment() -> RemoteResults | None:
    """Of TWIN_STORE_S3; None without it. Raises ConfigError."""
    url = os.environ.get(URL, "")
    return RemoteResults(url) if url else None
