"""A stage in a child process of its own, so that its memory is freed with it, its time limit holds, and its death is survived.

The store is asked first, here: a run whose stages are all done starts no child. See stage_child.py for the other end of the pipe. A run's
children are forked by its warm process (warm_process.py), which spares them their imports; without one they are started plainly.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.run.bucket_turn import my_turn_in_the_bucket
from flows.run.warm_process import WarmChild, WarmProcess
from stages.base import Stage, StageResult, fingerprint_of, inputs_of, what_to_lower
from stages.core import errors
from stages.core.aside import Aside
from stages.core.disk_errors import TOO_MANY_FILES, store_error
from stages.core.errors import MachineError, TwinError
from stages.core.fingerprint import plain
from stages.core.memory import memory_limit, out_of_memory
from stages.core.store import ArtifactRef, Store

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.25
LINES_KEPT = 60
EXIT_GRACE_S = 10.0

Progress = Callable[[int, int, str], None]


class StageFault(Exception):
    """A fault of the program inside a stage: not something a user can mend. `details` is the child's traceback."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message, self.details = message, details

    def __reduce__(self):
        return type(self), (self.message, self.details)


@dataclass(frozen=True)
class StageJob:
    """What a child needs to know beside the stage and its inputs."""

    store: Store
    seed: int = 0
    threads: int = 0
    """worker threads; 0 = all cores"""
    force: bool = False
    """compute even if the store has the result"""
    time_limit_s: float | None = None
    """the child is killed after this time"""
    progress: Progress = field(default=lambda done, total, note: None)
    warm: WarmProcess | None = None
    """forks the child; None starts a fresh interpreter"""
    aside: Aside | None = None
    """where a stage may put pictures of its work under way"""
    computing: Callable[[], None] = field(default=lambda: None)
    """called once before a child is started, and not at all when the store has the result"""


def run_stage_in_child(stage: Stage, inputs: Mapping[str, ArtifactRef], config: Any, job: StageJob) -> StageResult:
    """The stage's result, from the store or from a child process.

    Raises what the stage raised if it was a TwinError, MachineError if the child was killed or ran out of time, StageFault otherwise.
    """
    inputs = inputs_of(stage, inputs)
    fingerprint = fingerprint_of(stage, inputs, config, job.seed)
    if not job.force and (manifest := look_up(stage.name, fingerprint, job)) is not None:
        return StageResult(job.store.refs(stage.name, fingerprint, manifest), True, manifest)
    with my_turn_in_the_bucket(job.store, stage.name, fingerprint, job.force, tell=job.progress) as mine:
        if not mine and (manifest := look_up(stage.name, fingerprint, job)) is not None:
            return StageResult(job.store.refs(stage.name, fingerprint, manifest), True, manifest)
        job.computing()
        answer = _answer(stage, config, job, _spec(stage, inputs, config, fingerprint, job=job))
    manifest = job.store.manifest(stage.name, fingerprint)
    if manifest is None:
        raise StageFault(f"{stage.name} reported success but left no result in the store")
    return StageResult(job.store.refs(stage.name, fingerprint, manifest), answer["cached"], manifest)


def look_up(stage: str, fingerprint: str, job: StageJob) -> dict[str, Any] | None:
    """The verified manifest of a finished result or None; waits while another process computes it."""
    waited = time.monotonic()
    while job.store.is_locked(fingerprint):
        job.progress(0, 0, f"another run computes it: waiting {time.monotonic() - waited:.0f} s")
        time.sleep(LOOK_EVERY_S)
    return job.store.find(stage, fingerprint)


def _answer(stage: Stage, config: Any, job: StageJob, spec: dict[str, Any]) -> dict[str, Any]:
    """Of the stage's child; a fresh one if the warm process died and took the first along."""
    try:
        return _Child(stage, config, job).run(spec)
    except _WarmProcessDied:
        log.warning("the warm process was ended from outside; %s is started again without it", stage.name)
        return _Child(stage, config, replace(job, warm=None)).run(spec)


class _WarmProcessDied(Exception):
    """Nobody knows how the child would have ended."""


def _spec(
    stage: Stage, inputs: Mapping[str, ArtifactRef], config: Any, fingerprint: str, job: StageJob
) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "fingerprint": fingerprint,
        "settings": plain(config),
        "store": str(job.store.root),
        "inputs": {k: [str(r.path), r.fingerprint] for k, r in inputs.items()},
        "seed": job.seed,
        "threads": job.threads,
        "force": job.force,
        "parent_pid": os.getpid(),
        "aside": job.aside and [str(job.aside.folder), job.aside.panels, job.aside.every],
        "environment": dict(os.environ),
        "folder": _here(),
    }


def _here() -> str:
    """The working folder, "/" where it has been removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return "/"


class _Child:
    """One run of stage_child: starts it, passes its messages on, and sees to it that it is gone afterwards."""

    def __init__(self, stage: Stage, config: Any, job: StageJob) -> None:
        self.stage, self.job, self._lower = stage.name, job, what_to_lower(stage, config)
        self.answer: dict[str, Any] | None = None
        self.output: deque[str] = deque(maxlen=LINES_KEPT)
        self.peak_mb = 0

    def run(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The child's result message. Raises as `run_stage_in_child` says."""
        process, read_end = self._start()
        late = False
        try:
            _write_all(process, json.dumps(spec))
            late = self._listen(process, read_end)
        finally:
            clean = self.answer is not None and process.poll() is not None
            _end(process)
            os.close(read_end)
            if not clean:
                self.job.store.sweep()
        if isinstance(process, WarmChild) and process.orphaned and self.answer is None and not late:
            raise _WarmProcessDied
        return self._judge(process.returncode, late)

    def _start(self) -> tuple[subprocess.Popen | WarmChild, int]:
        """The child and the pipe that it talks through. Raises MachineError where the system has no room for another process."""
        ends: tuple[int, ...] = ()
        try:
            ends = os.pipe()
            if self.job.warm is not None and (forked := self.job.warm.start(ends[1])) is not None:
                os.close(ends[1])
                return forked, ends[0]
            # -P: a folder named like one of our modules in the working directory must not be imported
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flows.run.stage_child", str(ends[1])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[ends[1]],
                start_new_session=True,
            )
        except OSError as e:
            for end in ends:
                os.close(end)
            if e.errno in TOO_MANY_FILES:
                raise store_error(e, self.job.store.root) from e
            raise MachineError(
                f"no process can be started for {self.stage}: {e.strerror} ({memory_limit()})",
                "close other programs or raise the limit on processes (`ulimit -u`), then run the same command again: "
                "finished stages are kept",
            ) from e
        os.close(ends[1])
        return process, ends[0]

    def _listen(self, process: subprocess.Popen | WarmChild, messages: int) -> bool:
        """Pass on what the child says until it ends; True if its time was up first."""
        started = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(messages, selectors.EVENT_READ, _Lines(self._message))
            selector.register(process.stdout, selectors.EVENT_READ, _Lines(self._printed))
            while selector.get_map():
                ready = selector.select(LOOK_EVERY_S)
                for key, _ in ready:
                    if not key.data.feed(os.read(key.fd, 1 << 16)):
                        selector.unregister(key.fileobj)
                self.peak_mb = max(self.peak_mb, _resident_mb(process.pid))
                if self.job.time_limit_s is not None and time.monotonic() - started > self.job.time_limit_s:
                    return True
                if not ready and process.poll() is not None:  # a grandchild may hold the pipes open
                    break
        with contextlib.suppress(
            subprocess.TimeoutExpired
        ):  # some libraries hang when they unload; the answer is here already
            process.wait(EXIT_GRACE_S)
        return False

    def _message(self, line: str) -> None:
        message = json.loads(line)
        match message.pop("type"):
            case "progress":
                self.job.progress(message["done"], message["total"], message["note"])
            case "log":
                logging.getLogger(message["name"]).log(message["level"], "%s", message["text"])
            case _:
                self.answer = message

    def _printed(self, line: str) -> None:
        self.output.append(line)
        log.debug("%s: %s", self.stage, line)

    def _judge(self, code: int, late: bool) -> dict[str, Any]:
        if late:
            raise MachineError(
                f"{self.stage} did not finish within its time limit of {self.job.time_limit_s:.0f} s and was ended",
                "raise --time-limit, use --profile preview, or lower rectify.max_width",
            )
        if self.answer is None:
            raise self._death(code)
        if "cached" in self.answer:
            return self.answer
        known = getattr(errors, self.answer["cls"] or "-", None)
        if known is not None and issubclass(known, TwinError):
            raise known(self.answer["message"], self.answer["advice"])
        raise StageFault(f"{self.stage} failed: {self.answer['message']}", self.answer["traceback"])

    def _death(self, code: int) -> Exception:
        tail = "\n".join(self.output)
        if code == -signal.SIGKILL:
            return out_of_memory(
                f"{self.stage} was killed by the system, most likely because memory ran out", self.peak_mb, self._lower
            )
        if code < 0:
            name = signal.Signals(-code).name
            return MachineError(
                f"{self.stage} was ended by signal {name} (it last held {self.peak_mb} MB). "
                f"Its last words: {tail[-600:] or 'none'}",
                "run the same command again: finished stages are kept; if it happens again, report the last words above",
            )
        return StageFault(f"{self.stage} ended with exit code {code} and no result", tail)


class _Lines:
    """Splits a byte stream into lines for one receiver."""

    def __init__(self, receive: Callable[[str], None]) -> None:
        self._receive, self._rest = receive, ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, data: bytes) -> bool:
        """False at the end of the stream."""
        *lines, self._rest = (self._rest + self._decode(data)).split("\n")
        for line in lines:
            self._receive(line)
        return bool(data)


def _write_all(process: subprocess.Popen | WarmChild, text: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # if it died at birth, its exit code tells
        pipe.write(text.encode())


def _end(process: subprocess.Popen | WarmChild) -> None:
    """The child and all that it started is gone when this returns: a worker of a child that was killed holds memory and files too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    given_up = time.monotonic() + EXIT_GRACE_S
    while _group_lives(process.pid) and time.monotonic() < given_up:
        time.sleep(0.01)
    if process.stdout is not None:
        process.stdout.close()
    if isinstance(process, WarmChild):
        process.let_go()


def _group_lives(group: int) -> bool:
    """Whether a process of the group runs; one that is dead but not yet reaped by whoever inherited it does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    if not os.path.isdir("/proc"):  # noqa: PTH112 - elsewhere nothing tells a dead process from one not yet reaped
        return False
    return any(_state_and_group(entry.name) == ("live", group) for entry in os.scandir("/proc") if entry.name.isdigit())


def _state_and_group(pid: str) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:  # noqa: PTH123 - all processes, many times a second
            state, _, group = f.read().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return "gone", 0
    return "dead" if state in "ZX" else "live", int(group)


def _resident_mb(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as f:  # noqa: PTH123 - called several times a second
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, IndexError):
        return 0
