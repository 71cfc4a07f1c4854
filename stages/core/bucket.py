"""One bucket of an S3 service, or a folder in it, by its address s3://BUCKET/FOLDER. Keys, secret and endpoint are read from AWS_* as
other programs do. What the service refuses is a RemoteTrouble, whose message says what it answered.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import ConfigError

SCHEME = "s3://"
AT_ONCE = 8
"""transfers; what takes time is the way there and back"""
CHUNK_BYTES = 8 << 20
"""of a transfer, and of a part where a file is sent in parts"""
ACCESS = "see AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and whether it is there"
_CLIENT = {"timeout": "300s", "connect_timeout": "10s"}
_RETRIES = {"max_retries": 6, "retry_timeout": datetime.timedelta(seconds=60)}
_CODE = re.compile(r"<Code>(\w+)</Code>")
_WORDS = {
    "NoSuchBucket": "there is no bucket of that name",
    "AccessDenied": "these keys have no permission there",
    "InvalidAccessKeyId": "it does not know AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not fit the key",
}


class RemoteTrouble(Exception):
    """The bucket did not do what it was asked; the message says what it answered."""


class Superseded(Exception):
    """What was to be written only over what was read is another one by now."""


@dataclass(frozen=True)
class Entry:
    """One object."""

    key: str
    size: int
    tag: str
    """its ETag, as the service gives it"""
    changed_ns: int
    """when it was written, by the service's clock"""


def is_address(text: str) -> bool:
    """Whether it names something in a bucket, well or badly."""
    return text.startswith(SCHEME)


class Bucket:
    """Keys are relative to the address. Methods raise RemoteTrouble where the bucket does not answer or refuses."""

    def __init__(self, url: str, named_by: str = "") -> None:
        """`named_by`: the setting that names it, for the words of the ConfigError that a wrong address gets."""
        if not re.fullmatch(r"s3://[^/]+(/.*)?", url):
            raise ConfigError(
                f"{named_by}{'=' if named_by else ''}{url} names no bucket", "give s3://BUCKET or s3://BUCKET/FOLDER"
            )
        self.url = url.rstrip("/")
        self._client: Any = None
        self._of_process = 0

    def get(self, key: str) -> bytes | None:
        """The object's bytes; None if there is none."""
        found = self.get_tagged(key)
        return None if found is None else found[0]

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """Its bytes and its ETag; None if there is none."""
        try:
            with Asking():
                answer = obs().get(self.client(), key)
                return bytes(answer.bytes()), str(answer.meta["e_tag"])
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes, over: str | None = None, replace: bool = False) -> str:
        """Write the object if there is none; with `over`, only in the place of the one with that ETag; `replace`: over whatever there is.
        Returns its ETag. Raises Superseded where another one is there, or none that was to be replaced."""
        mode: Any = "overwrite" if replace else "create" if over is None else {"e_tag": over}
        try:
            with Asking(there=over is not None):
                return str(obs().put(self.client(), key, data, mode=mode)["e_tag"])
        except FileNotFoundError as e:
            raise Superseded(key) from e

    def upload(self, key: str, path: Path) -> None:
        """A file, over what is there."""
        with Asking(there=False):
            obs().put(self.client(), key, path, chunk_size=CHUNK_BYTES)

    def copy(self, source: str, target: str) -> None:
        """Within the bucket, over what is there; nothing travels."""
        with Asking(there=False):
            obs().copy(self.client(), source, target)

    def stream(self, key: str, offset: int = 0, tag: str | None = None) -> Iterator[bytes]:
        """The bytes from `offset` on; with `tag`, only of the object that has it. Raises FileNotFoundError, Superseded."""
        options = ({"range": {"offset": offset}} if offset else {}) | ({"if_match": tag} if tag else {})
        with Asking():
            yield from obs().get(self.client(), key, options=options).stream(min_chunk_size=CHUNK_BYTES)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """All below a folder, a page at a time."""
        with Asking():
            for chunk in obs().list(self.client(), prefix):
                for e in chunk:
                    since = e["last_modified"] - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
                    yield Entry(
                        e["path"], e["size"], e["e_tag"] or "", since // datetime.timedelta(microseconds=1) * 1000
                    )

    def is_empty(self, prefix: str = "") -> bool:
        """Whether nothing lies below a folder."""
        with Asking():
            return not any(len(chunk) for chunk in obs().list(self.client(), prefix, chunk_size=1))

    def folders(self, prefix: str = "") -> list[str]:
        """Names of the folders right below one."""
        with Asking():
            found = obs().list_with_delimiter(self.client(), prefix)["common_prefixes"]
        return [p.rstrip("/").rpartition("/")[2] for p in found]

    def delete(self, keys: Iterable[str]) -> None:
        """Those that are there."""
        if gone := list(keys):
            with Asking():
                obs().delete(self.client(), gone)

    def client(self) -> Any:
        """Of this process: its threads do not outlive a fork."""
        if self._client is None or self._of_process != os.getpid():
            obs()
            from obstore.store import from_url

            plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
            with Asking():
                self._client = from_url(
                    self.url, client_options={**_CLIENT, "allow_http": plain}, retry_config=_RETRIES
                )
            self._of_process = os.getpid()
        return self._client


def many(job: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """`job` of each, AT_ONCE at a time, in order; after an error none is begun any more."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(job, item) for item in items]
        try:
            return [j.result() for j in jobs]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def tag_of(path: Path) -> str:
    """The ETag that a service gives a file that `upload` sent, where it does not encrypt with keys of its own: MD5, of parts where it came
    in parts."""
    whole, parts = hashlib.md5(usedforsecurity=False), []
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            whole.update(chunk)
            parts.append(hashlib.md5(chunk, usedforsecurity=False).digest())
    if len(parts) <= 1:
        return f'"{whole.hexdigest()}"'
    return f'"{hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"'


def obs() -> Any:
    """The client library. Raises ConfigError where it is not installed."""
    try:
        import obstore
    except ImportError as e:
        raise ConfigError("a bucket is named, and obstore is not installed", "pip install 'stereotwin[s3]'") from e
    return obstore


class Asking:
    """Turns what the client raises into RemoteTrouble, Superseded or FileNotFoundError."""

    def __init__(self, there: bool = True) -> None:
        """`there`: what is not found may be missing; False: that is trouble, as where one writes."""
        self._there = there

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        missing = kind is not None and issubclass(kind, FileNotFoundError)
        if kind is None or not (missing or kind.__module__.startswith("obstore")):
            return
        text, code = str(error), _CODE.search(str(error))
        if kind.__name__ in ("AlreadyExistsError", "PreconditionError"):
            raise Superseded(text[:300]) from error
        if missing and self._there and not (code and code[1] == "NoSuchBucket"):
            return
        if code and code[1] in _WORDS:
            raise RemoteTrouble(f"{_WORDS[code[1]]} ({code[1]})") from error
        raise RemoteTrouble(" ".join(text.partition("Debug source")[0].split())[:300]) from error
