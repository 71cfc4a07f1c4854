"""A twin folder, sent to a bucket. What is there is a whole twin at every moment: the former one until the new one's manifest is written.

    ADDRESS/twin.json          which version counts, its files with size and SHA-256, and what made it; written last, by a conditional PUT
    ADDRESS/<version>/...      the files of the twin folder; the version is the digest of all of them

The manifest replaces the one that was there when the sending began and no other: of two machines that send at once the first one's counts.
A sending that is cut off leaves files that no manifest names; the next one copies them within the bucket and sends the rest.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.captures.staging_space import unsent
from flows.records.saved import Unreadable, read_object, saved_as
from flows.records.twin_place import is_better, read_run
from flows.records.twin_record import TwinRecord
from stages.core.bucket import ACCESS, Bucket, Entry, RemoteTrouble, Superseded, many, tag_of
from stages.core.errors import StoreError
from stages.core.fingerprint import digest_file, digest_mapping
from stages.core.store import Store

log = logging.getLogger(__name__)
MANIFEST, SCHEMA_VERSION = "twin.json", 1
SAY_EVERY_S = 5.0
OF_RECORD = ("run", "profile", "source", "capture", "asked", "verdict")
"""of run.json, for who asks whether a capture is done"""


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    size: int
    sha256: str
    tag: str
    """as the bucket will name its content"""


@dataclass(frozen=True)
class SentTwin:
    """What a bucket's manifest says."""

    version: str
    twin: TwinRecord
    tag: str = ""


def send_twin(
    store: Store,
    folder: Path,
    address: str,
    say: Callable[[str], None],
    keep_better: bool = False,
    still_mine: Callable[[], None] = lambda: None,
) -> str:
    """Returns the address of the version, or of the one that counts where another machine was first. `keep_better`: a better twin of the
    same capture stays, and this one goes beside it. `still_mine`: called before the manifest. Raises StoreError; the twin stays here."""
    try:
        if keep_better and (beside := _beside(folder, address)):
            log.warning("%s holds a better twin, which is kept: this one is sent to %s", address, beside)
            address = beside
        return _send(store, folder, address, say, still_mine=still_mine)
    except RemoteTrouble as e:
        raise StoreError(
            f"the twin is whole in {folder}, and could not be sent to {address}: {e}",
            f"{ACCESS}; then `twin resume` sends the rest",
        ) from e


def read_sent(address: str) -> SentTwin | None:
    """None if there is no twin, or one whose manifest cannot be used. Raises RemoteTrouble."""
    if (found := Bucket(address).get_tagged(MANIFEST)) is None:
        return None
    data, tag = found
    try:
        manifest = json.loads(data)
        if not 1 <= manifest["schema_version"] <= SCHEMA_VERSION:
            raise ValueError(f"schema_version {manifest['schema_version']}")
        return SentTwin(str(manifest["version"]), saved_as(TwinRecord, manifest["twin"], Path(MANIFEST)), tag)
    except (ValueError, KeyError, TypeError, Unreadable) as e:
        log.warning("%s/%s counts as no twin: %s", address, MANIFEST, e)
        return SentTwin("", TwinRecord(), tag)


def _beside(folder: Path, address: str) -> str:
    ours, theirs = read_run(folder), read_sent(address)
    if (
        theirs is None
        or theirs.twin.source != ours.get("source")
        or not is_better(theirs.twin.profile, str(ours.get("profile")))
    ):
        return ""
    return f"{address}.{ours['profile']}"


def _send(store: Store, folder: Path, address: str, say: Callable[[str], None], still_mine: Callable[[], None]) -> str:
    files, bucket, former = _files(folder), Bucket(address), read_sent(address)
    version = digest_mapping({f.name: f.sha256 for f in files})[:16]
    begun = [v for v in _begun(address) if v != version]
    store.disk.replace(
        unsent(address), json.dumps({"address": address, "folder": str(folder), "versions": [*begun, version]}).encode()
    )
    if former is None or former.version != version:
        _send_files(bucket, version, files, say)
        _require_whole(bucket, version, files)
        still_mine()
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "version": version,
            "sent": time.time(),
            "twin": {k: v for k, v in read_run(folder).items() if k in OF_RECORD},
            "files": {f.name: {"bytes": f.size, "sha256": f.sha256} for f in files},
        }
        try:
            bucket.put(MANIFEST, json.dumps(manifest, indent=1).encode(), over=former and former.tag)
        except Superseded:
            theirs = read_sent(address)
            log.warning("%s: another machine's twin came first, and counts; this one is in %s", address, folder)
            begun, version = [*begun, version], theirs.version if theirs else ""
        else:
            begun += [former.version] if former else []
    for old in {v for v in begun if v and v != version}:
        bucket.delete([e.key for e in bucket.entries(old)])
    store.disk.remove(unsent(address))
    return f"{address}/{version}"


def _send_files(bucket: Bucket, version: str, files: list[_File], say: Callable[[str], None]) -> None:
    """What lies there already under whatever version is not sent again."""
    there = {e.key: e for e in bucket.entries()}
    known = {(e.key.partition("/")[2], e.tag, e.size): e for e in there.values()}
    left, told = sum(f.size for f in files), time.monotonic() + SAY_EVERY_S

    def send(f: _File) -> int:
        key = f"{version}/{f.name}"
        if _is(there.get(key), f):
            return f.size
        if (other := known.get((f.name, f.tag, f.size))) is not None:
            bucket.copy(other.key, key)
        else:
            bucket.upload(key, f.path)
        return f.size

    done = 0
    for group in _groups(files):
        done += sum(many(send, group))
        if time.monotonic() >= told or done == left:
            say(f"{bucket.url}: {done / 1e6:.1f} of {left / 1e6:.1f} MB sent")
            told = time.monotonic() + SAY_EVERY_S


def _groups(files: list[_File]) -> Iterator[list[_File]]:
    """A few at a time, so that somebody hears of it."""
    for k in range(0, len(files), 32):
        yield files[k : k + 32]


def _require_whole(bucket: Bucket, version: str, files: list[_File]) -> None:
    """Raises RemoteTrouble if the bucket does not list every file with its size."""
    sizes = {e.key: e.size for e in bucket.entries(version)}
    if wrong := [f.name for f in files if sizes.get(f"{version}/{f.name}") != f.size]:
        raise RemoteTrouble(f"{len(wrong)} files are not there as they were sent (first: {wrong[0]})")


def _is(there: Entry | None, f: _File) -> bool:
    return there is not None and (there.size, there.tag) == (f.size, f.tag)


def _files(folder: Path) -> list[_File]:
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return [_File(p.relative_to(folder).as_posix(), p, p.stat().st_size, digest_file(p), tag=tag_of(p)) for p in found]


def _begun(address: str) -> list[str]:
    """Versions whose sending began on this machine and did not end."""
    try:
        data: dict[str, Any] = read_object(unsent(address))
        return [v for v in data["versions"] if isinstance(v, str)]
    except (FileNotFoundError, Unreadable, KeyError, TypeError):
        return []
