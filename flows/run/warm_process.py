"""A run's end of its warm process (warm_child.py): starts stage children that need no imports, and is like subprocess.Popen to wait for.

It is begun with the first stage that is computed, and belongs to one run: it dies with it, and its children with it. Where it cannot serve
(no Linux, no room, threads in it, killed) `start` returns None or the child is `orphaned`, and the run starts its children plainly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from typing import IO

from flows.run.blas_threads import BLAS_THREADS

log = logging.getLogger(__name__)
ANSWER_S = 30.0
"""for the import under way on a busy machine; after that stages are started plainly"""
END_S = 5.0


class WarmProcess:
    """Call `start` for each stage and `close` at the end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self.why_not = (
            "" if hasattr(os, "pidfd_open") and sys.platform.startswith("linux") else "this system lacks what it needs"
        )

    @property
    def pid(self) -> int | None:
        """Of the process, where it runs."""
        return self._process.pid if self._process is not None else None

    def start(self, messages: int) -> WarmChild | None:
        """A stage child that writes its messages to the descriptor; None where it has to be started plainly."""
        if self.why_not:
            return None
        try:
            control = self._control or self._begin()
            return self._ask(control, messages)
        except OSError as e:
            self._give_up(e.strerror or str(e))
            return None

    def close(self) -> None:
        """End it. The children of finished stages are gone by then."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "flows.run.warm_child", str(theirs.fileno()), str(os.getpid())],
                    env={**os.environ, BLAS_THREADS: "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._control = ours
        return ours

    def _ask(self, control: socket.socket, messages: int) -> WarmChild | None:
        given, to_child = os.pipe()
        from_child, printed = os.pipe()
        try:
            socket.send_fds(control, [b"job"], [given, printed, messages])
            word, _, rest = (answer_of(control, ANSWER_S) or "").partition(" ")
        finally:
            os.close(given)
            os.close(printed)
        if word == "pid":
            return WarmChild(int(rest), control, os.fdopen(to_child, "wb"), os.fdopen(from_child, "rb"))
        os.close(to_child)
        os.close(from_child)
        self._give_up(rest if word == "refused" else "it does not answer")
        return None

    def _give_up(self, why: str) -> None:
        self.why_not = why
        log.info("stages are started without the warm process: %s", why)
        self.close()


class WarmChild:
    """What of Popen a stage's run needs: pid, pipes, poll, wait and returncode."""

    def __init__(self, pid: int, control: socket.socket, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid, self.stdin, self.stdout, self._control = pid, stdin, stdout, control
        self.returncode: int | None = None
        self.orphaned = False
        """whether the warm process ended before it: the child is killed then, through no fault of its own"""

    def poll(self) -> int | None:
        """The exit code once it has ended, as subprocess has it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """The same, after at most `timeout` seconds. Raises TimeoutExpired."""
        if self.returncode is None:
            if (said := answer_of(self._control, timeout)) is None:
                raise subprocess.TimeoutExpired("stage", timeout or 0.0)
            word, _, code = said.partition(" ")
            self.orphaned = word != "exit"
            self.returncode = -signal.SIGKILL if self.orphaned else int(code)
            if self.orphaned:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
        return self.returncode

    def let_go(self) -> None:
        """Once nothing is asked of its process group any more: its process id may become another's."""
        if self.returncode is not None and not self.orphaned:
            with contextlib.suppress(OSError):
                self._control.send(b"reap")


def answer_of(control: socket.socket, timeout: float | None) -> str | None:
    """The next packet; "" if the other end is gone, None if nothing has come in time."""
    if not select.select([control], [], [], timeout)[0]:
        return None
    try:
        return control.recv(256).decode()
    except OSError:
        return ""
