"""The results of a store in an S3 bucket, shared by machines that have no filesystem in common: TWIN_STORE_S3=s3://BUCKET/PREFIX.

    PREFIX/results/<stage>/<fingerprint>/blobs/<sha256>      the files, each under the digest of its content
    PREFIX/results/<stage>/<fingerprint>/manifest.json       written last, and only if there is none: two machines never mix
    PREFIX/leases/<fingerprint>                              who computes it (remote_lease.py)

A file that is not named by a manifest is no part of a result, so an upload that is cut off leaves nothing that is taken for one. Its files
go after a day (`sweep`): no upload takes that long.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.bucket import ACCESS, Bucket, RemoteTrouble, Superseded, many
from stages.core.errors import StoreError
from stages.core.remote_lease import FOLDER

URL = "TWIN_STORE_S3"
UNFINISHED_S = 86400.0
_RESULT = re.compile(
    r"results/(?P<stage>[A-Za-z0-9_]+)/(?P<fingerprint>[0-9a-f]{64})/(?P<rest>manifest\.json|blobs/[0-9a-f]{64})"
)


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
        self.url, self.bucket = url, Bucket(url, URL)

    def check(self) -> None:
        """Once, before work: whether the bucket can be listed at all. Raises StoreError."""
        try:
            self.bucket.is_empty("results/")
        except RemoteTrouble as e:
            raise StoreError(f"the bucket of {URL}={self.url} cannot be used: {e}", ACCESS) from e

    def manifest(self, stage: str, fingerprint: str) -> bytes | None:
        """As it was written; None if there is no such result."""
        return self.bucket.get(f"{_place(stage, fingerprint)}/manifest.json")

    def fetch(self, stage: str, fingerprint: str, files: dict[str, dict[str, Any]], folder: Path) -> bool:
        """The files of a manifest into `folder`, not checked; False if one is not there: it has been removed meanwhile."""
        place = _place(stage, fingerprint)
        digests = {name: entry["sha256"] for name, entry in files.items()}
        for name in digests:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        return all(many(lambda name: self._download(f"{place}/blobs/{digests[name]}", folder / name), digests))

    def push(
        self,
        stage: str,
        fingerprint: str,
        folder: Path,
        manifest: tuple[bytes, dict[str, dict[str, Any]]],
        replace: bool,
    ) -> bool:
        """The files first, then the manifest (its bytes; its files). False if another machine's was there before and is not to be replaced:
        then that one counts."""
        place, (data, files) = _place(stage, fingerprint), manifest
        if not replace and self.manifest(stage, fingerprint) is not None:
            return False
        by_digest = {entry["sha256"]: folder / name for name, entry in files.items()}
        many(lambda digest: self.bucket.upload(f"{place}/blobs/{digest}", by_digest[digest]), by_digest)
        try:
            self.bucket.put(f"{place}/manifest.json", data, replace=replace)
        except Superseded:
            return False
        return True

    def results(self) -> Iterator[RemoteResult]:
        """All, those without a manifest too."""
        now: RemoteResult | None = None
        for entry in self.bucket.entries("results/"):
            if (found := _RESULT.fullmatch(entry.key)) is None:
                continue
            if now is None or (now.stage, now.fingerprint) != (found["stage"], found["fingerprint"]):
                if now is not None:
                    yield now
                now = RemoteResult(found["stage"], found["fingerprint"])
            now.bytes += entry.size
            if found["rest"] == "manifest.json":
                now.written = entry.changed_ns / 1e9
            else:
                now.blobs[found["rest"].removeprefix("blobs/")] = entry.changed_ns / 1e9
        if now is not None:
            yield now

    def remove(self, result: RemoteResult) -> None:
        """The manifest first: from then on it is no result."""
        place = _place(result.stage, result.fingerprint)
        self.bucket.delete([f"{place}/manifest.json"])
        self.bucket.delete(f"{place}/blobs/{digest}" for digest in result.blobs)

    def sweep(self, result: RemoteResult, now: float, dry_run: bool = False) -> int:
        """Files older than a day of an upload that never came to its manifest; how many."""
        if result.written:
            return 0
        old = [digest for digest, came in result.blobs.items() if came < now - UNFINISHED_S]
        if old and not dry_run:
            place = _place(result.stage, result.fingerprint)
            self.bucket.delete(f"{place}/blobs/{digest}" for digest in old)
        return len(old)

    def sweep_leases(self, now: float, dry_run: bool = False) -> int:
        """Leases that nobody has renewed for a day; how many."""
        old = [e.key for e in self.bucket.entries(FOLDER) if e.changed_ns / 1e9 < now - UNFINISHED_S]
        if not dry_run:
            self.bucket.delete(old)
        return len(old)

    def _download(self, key: str, path: Path) -> bool:
        try:
            with path.open("wb") as file:
                for chunk in self.bucket.stream(key):
                    file.write(chunk)
        except FileNotFoundError:
            return False
        return True


def _place(stage: str, fingerprint: str) -> str:
    return f"results/{stage}/{fingerprint}"


def of_environment() -> RemoteResults | None:
    """Of TWIN_STORE_S3; None without it. Raises ConfigError."""
    url = os.environ.get(URL, "")
    return RemoteResults(url) if url else None
