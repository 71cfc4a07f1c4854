"""The child process of one stage: `python -m flows.run.stage_child FD`.

The job comes as one JSON document on stdin; what it says goes as JSON lines to the pipe FD: `progress`, `log`, and at the end one
`result` or `error`. stdout and stderr stay free for whatever libraries print. No Prefect here: a fresh interpreter that imports
only what its stage needs, so that memory is counted per stage and GPU memory is given back when it ends. Or a fork of the run's warm
process (warm_child.py), which has imported what most stages need.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from stages.base import StageContext, fingerprint_of, run_stage, trouble_of_the_machine
from stages.core.aside import Aside
from stages.core.errors import StageError, TwinError
from stages.core.file_locks import try_flock
from stages.core.store import ArtifactRef, Store

PR_SET_PDEATHSIG = 1
PROGRESS_EVERY_S = 0.2


class Messages:
    """JSON lines to the parent, from any thread."""

    def __init__(self, pipe: TextIO) -> None:
        self._pipe, self._guard, self._next_progress = pipe, threading.Lock(), 0.0

    def send(self, kind: str, **values: Any) -> None:
        """One message; the parent reads them in order."""
        line = json.dumps({"type": kind, **values})
        with self._guard:
            self._pipe.write(line + "\n")
            self._pipe.flush()

    def progress(self, done: int, total: int, note: str = "") -> None:
        """A stage may call this per frame: passed on a few times a second and at the end."""
        now = time.monotonic()
        if now >= self._next_progress or done >= total:
            self._next_progress = now + PROGRESS_EVERY_S
            self.send("progress", done=int(done), total=int(total), note=note)


class _LogLines(logging.Handler):
    def __init__(self, messages: Messages) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        # what other libraries say below a warning is noise to a user
        if record.name.startswith("stages") or record.levelno >= logging.WARNING:
            self._messages.send("log", level=record.levelno, name=record.name, text=record.getMessage())


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL for this process as soon as its parent is gone, however that ended."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the call above took effect
        os._exit(1)
    if not sys.platform.startswith("linux"):
        threading.Thread(target=_watch_parent, args=(parent_pid,), daemon=True).start()


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(1.0)
    os._exit(1)


def prefer_me_when_memory_ends() -> None:
    """Let the kernel end the stage, not the process that can still report it. Without permission nothing changes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def share_threads(threads: int) -> None:
    """What libraries take by themselves is as much as the stage's share: those that are loaded are told, the others read it."""
    if not threads:
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)
    if "numba" in sys.modules:  # its threads are not launched yet
        sys.modules["numba"].config.NUMBA_NUM_THREADS = threads


def load_stages(route: str = "all") -> tuple[Any, ...]:
    """The stages of a route in order, or those of all; TWIN_STAGES=module:function names others than the real ones, for tests and
    experiments."""
    real = {
        "stereo": "stages",
        "posed": "posed_stages",
        "scene": "scene_stages",
        "rgbd": "rgbd_stages",
        "merge": "merge_stages",
        "turntable": "turntable_stages",
        "all": "every_stage",
    }[route]
    module, function = os.environ.get("TWIN_STAGES", f"stages.graph:{real}").split(":")
    return getattr(importlib.import_module(module), function)()


def restore_config(cls: type, values: dict[str, Any]) -> Any:
    """A stage's config from the JSON of its checked values (lists were tuples); no conversion, so its fingerprint stays the same."""
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def device_for(stage: Any) -> str:
    """The GPU for a stage that can use it on a machine that has one; torch is imported only where a driver is."""
    from stages.core.devices import best_device, driver_there

    return best_device() if stage.needs.gpu and driver_there() else "cpu"


@contextlib.contextmanager
def my_turn_on(device: str, messages: Messages) -> Iterator[None]:
    """One stage at a time on a GPU, over all runs of this machine: flock, which a dead process gives back at once."""
    if device == "cpu":
        yield
        return
    path = Path(os.environ.get("TWIN_GPU_LOCK") or Path(tempfile.gettempdir()) / "stereotwin-gpu0.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        started = time.monotonic()
        while not try_flock(descriptor):
            messages.progress(0, 0, f"another run uses the GPU: waiting {time.monotonic() - started:.0f} s")
            time.sleep(PROGRESS_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def run_job(job: dict[str, Any], messages: Messages) -> None:
    """Run the stage of the job and send its result."""
    stage = next(s for s in load_stages() if s.name == job["stage"])
    config = restore_config(stage.Config, job["settings"])
    inputs = {kind: ArtifactRef(kind, Path(path), digest) for kind, (path, digest) in job["inputs"].items()}
    fingerprint = fingerprint_of(stage, inputs, config, job["seed"])
    if fingerprint != job["fingerprint"]:
        raise StageError(
            f"the program or the weights of {stage.name} changed while the run was under way",
            "run the same command again",
        )
    device = device_for(stage)
    aside = Aside(Path(job["aside"][0]), tuple(job["aside"][1]), job["aside"][2]) if job["aside"] else None
    context = StageContext(
        threads=job["threads"], seed=job["seed"], device=device, progress=messages.progress, aside=aside
    )
    store = Store(Path(job["store"]))
    with my_turn_on(device, messages):
        try:
            result = run_stage(stage, inputs, config, store, context=context, force=job["force"])
        except Exception as e:  # whichever library it was that met a full disk or the end of memory
            if isinstance(e, TwinError) or (trouble := trouble_of_the_machine(e, stage, config, store)) is None:
                raise
            raise trouble from e
    messages.send("result", cached=result.cached)


def main(messages_to: int | None = None) -> int:
    """Read the job, run it, report; 0 also when the stage failed with a message, because the parent has it. `messages_to`: the descriptor,
    in a child that the warm process forked."""
    job = json.load(sys.stdin)
    if messages_to is None:
        die_with_parent(job["parent_pid"])
        share_threads(job["threads"])
    else:
        _as_if_fresh(job)
    prefer_me_when_memory_ends()
    with os.fdopen(int(sys.argv[1]) if messages_to is None else messages_to, "w", encoding="utf-8") as pipe:
        messages = Messages(pipe)
        logging.basicConfig(level=logging.INFO, handlers=[_LogLines(messages)])
        try:
            run_job(job, messages)
        except TwinError as e:
            messages.send(
                "error", cls=type(e).__name__, message=e.message, advice=e.advice, traceback=traceback.format_exc()
            )
        except Exception as e:  # noqa: BLE001 - the border of the process: whatever it was, the parent must hear of it
            messages.send(
                "error", cls="", message=f"{type(e).__name__}: {e}", advice="", traceback=traceback.format_exc()
            )
    return 0


def _as_if_fresh(job: dict[str, Any]) -> None:
    """The run's environment and folder as they are now, and the threads of a library that was loaded with one."""
    from flows.run.blas_threads import give_blas_its_threads

    os.environ.clear()
    os.environ.update(job["environment"])
    with contextlib.suppress(OSError):
        os.chdir(job["folder"])
    share_threads(job["threads"])
    give_blas_its_threads()


if __name__ == "__main__":
    sys.exit(main())
