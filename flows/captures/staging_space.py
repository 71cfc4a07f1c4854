"""What captures and twins of a bucket may take on this machine: TWIN_STAGED_GB. Those used longest ago go first, never one that a run
holds, nor a twin that has not reached the bucket. Each can be had again from there."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.records.s3_addresses import address_of, staging_root
from stages.core.disk_errors import room_error
from stages.core.errors import ConfigError, StoreError
from stages.core.file_locks import is_held, lock
from stages.core.fingerprint import digest_mapping
from stages.core.store import Store

log = logging.getLogger(__name__)
LIMIT, DEFAULT_GB = "TWIN_STAGED_GB", 50.0
KINDS = ("captures", "coming", "twins")


@dataclass(frozen=True)
class _Staged:
    path: Path
    bytes: int
    used: float


def limit_bytes() -> float:
    """TWIN_STAGED_GB. Raises ConfigError if it is no size."""
    text = os.environ.get(LIMIT, "")
    try:
        size = float(text) if text else DEFAULT_GB
    except ValueError:
        size = math.nan
    if not (math.isfinite(size) and size >= 0):
        raise ConfigError(f"{LIMIT}={text} is no size", "give gigabytes, for example 200")
    return size * 1e9


def name_of(place: Path) -> str:
    """Of the locks of one staged folder."""
    return digest_mapping({"staged": "/".join(place.parts[-2:])})


@contextlib.contextmanager
def held(store: Store, place: Path) -> Iterator[None]:
    """While it is open nothing takes the folder away; any number of runs may hold it."""
    path = staging_root() / "held" / f"{name_of(place)}.{secrets.token_hex(8)}"
    store.disk.make_folders(path.parent)
    with lock(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def make_room(store: Store, needed: int, but: Path) -> None:
    """Remove what was used longest ago until `needed` bytes more fit beside the rest. Raises StoreError if the disk has not so much."""
    staged = sorted((s for s in _staged() if s.path.parts[-2:] != but.parts[-2:]), key=lambda s: s.used)
    excess = sum(s.bytes for s in staged) + needed - limit_bytes()
    for old in staged:
        if excess > 0 and _removed(store, old.path):
            log.info("%s is no longer kept on this machine", old.path.name)
            excess -= old.bytes
    if error := room_error(staging_root(), needed, f"free space, lower {LIMIT}, or set TWIN_STORE to a larger disk"):
        raise error


def mark_used(store: Store, place: Path) -> None:
    """It was used now."""
    store.disk.make_folders(place.parent)
    _use(place).touch()


def unsent(address: str) -> Path:
    """The file that is there until a twin has reached the bucket."""
    return staging_root() / "unsent" / f"{digest_mapping({'twin': address})}.json"


def _staged() -> Iterator[_Staged]:
    for kind in KINDS:
        for path in (staging_root() / kind).glob("*/*"):
            if path.is_dir() and not path.name.startswith("."):
                yield _Staged(path, _size_of(path), _used(path))


def _size_of(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total


def _used(path: Path) -> float:
    try:
        return _use(path).stat().st_mtime
    except OSError:
        return path.stat().st_mtime


def _use(place: Path) -> Path:
    return place.parent / f".{place.name}.used"


def _removed(store: Store, place: Path) -> bool:
    """Whether it could be: under the lock under which it is made and held."""
    try:
        with store.lock(name_of(place), timeout_s=0.0):
            if (twin := address_of(place, "twins")) and unsent(twin).exists():
                return False
            if any(is_held(p) for p in (staging_root() / "held").glob(f"{name_of(place)}.*")):
                return False
            for path in (place, _use(place), *(staging_root() / "held").glob(f"{name_of(place)}.*")):
                store.disk.remove(path)
            return True
    except StoreError:  # somebody is at it
        return False
