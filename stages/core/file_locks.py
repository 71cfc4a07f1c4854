"""Locks on files that a dead process gives back at once: fcntl.flock, whole file, exclusive.

A lock file may be removed by whoever holds it. So a lock counts only if the file that was locked is still the one of that name: one that
was removed between opening and locking guards nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path
from typing import IO

LOOK_AGAIN_S = 0.2


def try_flock(file: IO | int) -> bool:
    """Lock an open file, or its descriptor, if nobody holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock(path: Path, make: bool = False) -> IO[bytes] | None:
    """The file, opened and locked, or None while another process holds it. Raises FileNotFoundError if it is not there nor to be made."""
    with contextlib.ExitStack() as closes:
        handle = closes.enter_context(path.open("ab" if make else "r+b"))
        if not try_flock(handle) or not is_the_file(path, handle):
            return None
        closes.pop_all()
        return handle


def lock(path: Path, timeout_s: float | None = None) -> IO[bytes]:
    """The file, made if need be, opened and locked, once nobody else holds it. Raises TimeoutError; None waits for ever."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while (handle := try_lock(path, make=True)) is None:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"another process has held {path} for {timeout_s:.0f} s")
        time.sleep(LOOK_AGAIN_S)
    return handle


def is_held(path: Path) -> bool:
    """Whether a live process holds the lock file `path` now; a dead one's lock is free."""
    for mode in ("r+b", "rb"):  # the second where nothing can be written; network filesystems lock for writers only
        try:
            with path.open(mode) as handle:
                return not try_flock(handle)
        except FileNotFoundError:
            return False
        except OSError as e:
            if e.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EBADF):
                raise
    return False


def is_the_file(path: Path, handle: IO[bytes]) -> bool:
    """Whether this open file is what has that name now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False
