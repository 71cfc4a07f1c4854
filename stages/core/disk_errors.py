"""What is said when the disk refuses: what is full or forbidden, how much is free, what to do."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path

from stages.core.errors import StoreError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
OF_THE_DISK = (*NO_ROOM, *NOT_WRITABLE, *TOO_MANY_FILES, errno.EIO)
"""errors that are the disk's or the machine's, not the program's, wherever they come up"""
FULL_BYTES = 2_000_000
KEPT = "finished stages are kept, run the same command again"
MAKE_ROOM = f"free space (`twin clean`) or set TWIN_STORE to a larger disk; {KEPT}"
_NO_FOLDER = "no usable temporary directory"
_WORDS = {os.strerror(n).lower(): n for n in (*NO_ROOM, *TOO_MANY_FILES, errno.EROFS)}


def store_error(e: OSError, path: Path, needed_bytes: int = 0, advice: str = "") -> StoreError:
    """For a failed write or read of `path`, or of the file that the error itself names. `advice` takes the place of the usual one where
    room is lacking."""
    where = Path(os.fsdecode(e.filename)) if isinstance(e.filename, (str, bytes)) else Path(path)
    if e.errno in NO_ROOM:
        return StoreError(f"no space left writing {where}: {_room(e, where, needed_bytes)}", advice or MAKE_ROOM)
    if e.errno in TOO_MANY_FILES:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return StoreError(
            f"too many open files (this process may open {limit}) at {where}",
            f"raise the limit (`ulimit -n {max(4096, 2 * limit)}`) or run fewer captures at once; {KEPT}",
        )
    if e.errno == errno.EROFS:
        return StoreError(
            f"cannot write {where}: its filesystem is read-only",
            "set TWIN_STORE (or --out, for the twin) to a folder that can be written; results in a read-only store are used",
        )
    if e.errno == errno.EIO:
        return StoreError(
            f"the disk reports a fault at {where}: {e.strerror}", "check the disk and the system's log, then run again"
        )
    return StoreError(
        f"cannot write {where}: {e.strerror or e}", "check the permissions of the store, or set TWIN_STORE"
    )


def room_error(path: Path, needed_bytes: int, advice: str) -> StoreError | None:
    """The error before anything is written, if `path`'s disk has no room for so much; None if it has."""
    free = free_bytes(path)
    if free is None or free >= needed_bytes:
        return None
    return store_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path, needed_bytes, advice)


def free_bytes(path: Path) -> int | None:
    """Free on the disk of `path`, or of the nearest folder above it that exists; None if it does not say."""
    try:
        return shutil.disk_usage(_existing(path)).free
    except OSError:
        return None


def disk_fault(error: BaseException, store: Path) -> StoreError | None:
    """What an unforeseen error says if the disk is behind it, whichever library raised it; None if it is about something else."""
    if isinstance(error, OSError) and error.errno in OF_THE_DISK:
        number = error.errno
    elif _NO_FOLDER in str(error).lower():
        advice = f"free space there, or set TMPDIR to another folder; {KEPT}"
        return StoreError(f"no folder for temporary files can be written ({error})", advice)
    else:
        number = next((number for words, number in _WORDS.items() if words in str(error).lower()), None)
    if number is None:
        return None
    name, temporary = getattr(error, "filename", None), Path(os.environ.get("TMPDIR") or "/tmp")
    where = (
        Path(os.fsdecode(name))
        if isinstance(name, (str, bytes))
        else min((store, temporary), key=lambda p: free_bytes(p) or 0)
    )
    in_temporary = where.is_relative_to(temporary) and not where.is_relative_to(store)
    advice = f"free space in {temporary}, or set TMPDIR to a folder on a larger disk; {KEPT}" if in_temporary else ""
    return store_error(OSError(number, os.strerror(number)), where, advice=advice)


def disk_is_full(path: Path) -> bool:
    """Whether so little is free that a database cannot be written to."""
    free = free_bytes(path)
    return free is not None and free < FULL_BYTES


def size(count: float) -> str:
    """Bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"


def _room(e: OSError, where: Path, needed_bytes: int) -> str:
    needed = f", about {size(needed_bytes)} needed" if needed_bytes else ""
    if e.errno == errno.EDQUOT:
        return f"your quota on this disk is used up{needed}"
    try:
        disk = os.statvfs(_existing(where))
    except OSError:
        return f"its disk is full{needed}"
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    files = "; it can take no more files (no free inodes)" if disk.f_files and not disk.f_favail else ""
    return f"{size(free)} of {size(total)} free on its disk{needed}{files}"


def _existing(path: Path) -> Path:
    path = Path(path).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
