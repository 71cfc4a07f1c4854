"""A run that a worker started holds a lease in the store, from which any machine can tell whether it still lives.

A lease is one small file, <store>/leases/<flow run>.lease. Its holder keeps flock on it and rewrites it every five seconds. Two signs of
life, because each alone deceives: a filesystem whose flock does not reach other machines shows a free lock of a healthy run, and a machine
under heavy load may write late while it holds the lock. serve/recovery.py judges by both.

A lease that names another, or that is gone, says that the run is another's or over: a machine that was cut off and comes back finds one of
the two, whatever became of the run meanwhile, and its process ends without a word (flow_run/attempt.py says when it looks).
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Self

from flows.records.saved import Unreadable, read_object, saved_as
from stages.core.file_locks import is_the_file, try_lock
from stages.core.store import Store

log = logging.getLogger(__name__)
BEAT_S = 5.0
HEARTBEAT_S = 30
"""between two that a flow run sends to Prefect's server, which knows no lease"""
LOOK_AGAIN_S, TELL_AFTER_S = 0.25, 2.0
LENGTH = 512
"""bytes of every lease: rewritten in place, so that a full disk does not silence a run"""
SUFFIX = ".lease"


def this_machine() -> str:
    """Same for all processes that share a kernel, and so its locks: TWIN_MACHINE, else the boot's id, else the host's name.

    The boot's id, not the host's name: cloned machines share names, and containers of one machine do not.
    """
    if name := os.environ.get("TWIN_MACHINE"):
        return name
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def leases_folder(store: Store) -> Path:
    """Where the leases of all machines lie."""
    return store.root / "leases"


@dataclass(frozen=True)
class Holder:
    """What a lease says."""

    token: str
    """who holds it; another one means that the run was taken over"""
    machine: str
    """as `this_machine`; empty when the run was taken from a dead machine and waits for another"""
    host: str = ""
    beats: int = 0

    def text(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(asdict(self)).encode().ljust(LENGTH)


NOBODY = Holder("", "")
"""stands in a lease that was taken from a machine that is gone, and for one that cannot be read"""


def read_holder(path: Path) -> Holder | None:
    """None if the lease is gone; NOBODY if it is damaged, or is being written for the first time."""
    try:
        return saved_as(Holder, read_object(path), path)
    except FileNotFoundError:
        return None
    except Unreadable:
        return NOBODY


def write_holder(path: Path, holder: Holder, make: bool = True) -> None:
    """In place; opened and closed each time, so that a network filesystem hands it on. FileNotFoundError where it is not to be made."""
    descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT if make else 0), 0o644)
    try:
        os.pwrite(descriptor, holder.text(), 0)
    finally:
        os.close(descriptor)


_kept: list[Lease] = []


def leave_if_taken() -> None:
    """End this process if a run whose lease it keeps is another's by now, or over."""
    for lease in _kept:
        lease.leave_if_taken()


def keep_lease(store: Store, flow_run: str) -> None:
    """Hold a lease until this process ends, not only until its work is done: a process that ends without having told the server so, because
    the server was away, leaves a run that says Running and a free lease. serve/recovery.py removes it when the run is over."""
    _kept.append(Lease(store, flow_run).__enter__())


class Lease:
    """Opened as a context. Waits while another process holds it: then a run was started twice, and the second finds in the store what the
    first has made. A store that cannot be written is logged, and the run goes on without a lease."""

    def __init__(
        self, store: Store, flow_run: str, beat_s: float = BEAT_S, taken: Callable[[], None] | None = None
    ) -> None:
        self.path = leases_folder(store) / f"{flow_run}{SUFFIX}"
        self._holder = Holder(secrets.token_hex(8), this_machine(), socket.gethostname())
        self._beat_s, self._taken = beat_s, taken or leave
        self._stop = threading.Event()
        self._handle: IO[bytes] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = _wait_for_lock(self.path)
            write_holder(self.path, self._holder)
        except OSError as e:
            log.warning("no lease (%s): if this machine dies, the run is not brought back by itself", e)
            return self
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is None:
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            if self._mine():
                self.path.unlink(missing_ok=True)
        self._handle.close()

    def leave_if_taken(self) -> None:
        """To be called before anything is made known of the run: up to a beat passes until the beat itself finds out."""
        if self._thread is None:
            return
        try:
            mine = self._mine()
        except OSError as e:
            log.warning("the lease cannot be read: %s", e)
            return
        if not mine:
            self._taken()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                self._beat()
            except OSError as e:
                log.warning("the lease cannot be renewed: %s", e)

    def _beat(self) -> None:
        if not self._mine():
            self._taken()
            return
        assert self._handle is not None
        if not is_the_file(self.path, self._handle):  # copied back, say: what we hold is a file that nobody can see
            self._handle.close()
            self._handle = _wait_for_lock(self.path)
        self._holder = replace(self._holder, beats=self._holder.beats + 1)
        with suppress(FileNotFoundError):  # gone since we looked: the next beat ends this process
            write_holder(self.path, self._holder, make=False)

    def _mine(self) -> bool:
        """False once another machine has written its name, or whoever finished the run has taken the lease away."""
        found = read_holder(self.path)
        return found is not None and found.token == self._holder.token


def forget_leases(store: Store, limit: float) -> None:
    """Remove those that nobody holds and that were not written since `limit`, seconds since the epoch: of servers that are no more."""
    for path in leases_folder(store).glob(f"*{SUFFIX}"):
        if path.stat().st_mtime < limit:
            forget(path)


def forget(path: Path) -> None:
    """Remove a lease that nobody holds; with its lock held, so that nobody takes it meanwhile."""
    try:
        if (handle := try_lock(path)) is not None:
            with handle:
                path.unlink()
    except OSError as e:
        log.warning("%s cannot be removed: %s", path, e)


def leave() -> None:
    """This machine was cut off for so long that another one has, or has finished, the run. Exit code 0, or the worker would mark that one's
    run Crashed."""
    log.error("this run was taken over by another machine: this process ends")
    os._exit(0)


def _wait_for_lock(path: Path) -> IO[bytes]:
    """The file, made if need be, opened and locked; waits for whoever holds it."""
    began, told = time.monotonic(), False
    while (handle := try_lock(path, make=True)) is None:
        if not told and time.monotonic() - began > TELL_AFTER_S:
            log.warning("another process still runs this: waiting for it")
            told = True
        time.sleep(LOOK_AGAIN_S)
    return handle
