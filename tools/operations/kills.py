"""What kill -9 costs: of a stage, a run, the worker alone and with its run, the server, and everything at once. Every stage's executions
are counted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from flows.web.embedded_server import answers
from tests.flows.served import Served, flow_process_of, kill_tree
from tools.operations.bed import LONG, Bed, computed, executions, stage_child, start

KILLED_IN = "surface"
LIMIT_S = 600.0


def measure_kills(bed: Bed) -> dict:
    """One tiny capture per kind of kill, always while the stage surface computes."""
    served = bed.serve("kills", patience_s=LIMIT_S)
    try:
        return {name: _drill(bed, served, name, kill) for name, kill in KILLS.items()}
    finally:
        served.stop()


def _drill(bed: Bed, served: Served, name: str, kill: Callable[[Served, dict, Path], float]) -> dict:
    """`back_s`: until what was killed works again. `running_again_s`: until the stage computes again; none if it was never interrupted."""
    capture = bed.capture(served.captures / name.replace(" ", "-"))
    run = start(served, capture, LONG)
    served.wait(lambda: stage_child(served, KILLED_IN, capture), LIMIT_S)
    time.sleep(1.0)
    before, killed = len(computed(served.store, capture)), time.time()
    back = kill(served, run, capture)
    served.wait_for(run["id"], "Completed", seconds=LIMIT_S)
    again = [moment - killed for moment, _ in computed(served.store, capture)[before:] if moment > killed]
    counts = executions(served.store, capture)
    interrupted = counts[KILLED_IN] > 1
    return {
        "back_s": round(back, 2),
        "running_again_s": round(again[0], 2) if interrupted else None,
        "executions": counts,
        "attempts": served.flow_run(run["id"])["run_count"],
        "only_the_rest_again": _only_the_rest(counts, interrupted),
    }


def _only_the_rest(counts: dict[str, int], interrupted: bool) -> bool:
    """Every stage was computed once, the one that was killed twice."""
    return (
        all(n == (2 if interrupted and stage == KILLED_IN else 1) for stage, n in counts.items()) and len(counts) == 8
    )


def _stage(served: Served, run: dict, capture: Path) -> float:
    """The run fails with a reason; Retry as soon as it has."""
    began = time.monotonic()
    os.kill(_child(served, capture), signal.SIGKILL)
    served.wait_for(run["id"], "Failed", seconds=LIMIT_S)
    served.retry(run["id"])
    return time.monotonic() - began


def _flow_process(served: Served, run: dict, capture: Path) -> float:
    """Where the worker notices first, the run is Crashed and Retry is pressed; else the watcher has brought it back."""
    began = time.monotonic()
    os.kill(flow_process_of(_child(served, capture)), signal.SIGKILL)
    noticed = served.wait(
        lambda: (r := served.flow_run(run["id"])) and (r["state_name"] != "Running" or r["run_count"] > 1) and r,
        LIMIT_S,
    )
    if noticed["state_name"] == "Crashed":
        served.retry(run["id"])
    return time.monotonic() - began


def _worker(served: Served, run: dict, capture: Path) -> float:
    return _part(served, "worker\0twin\0", lambda: served.part("worker\0twin\0"))


def _worker_and_run(served: Served, run: dict, capture: Path) -> float:
    """As its container, its unit or its machine ends: until the watcher has taken the run back for the next worker."""
    began = time.monotonic()
    kill_tree(served.part("worker\0twin\0"))
    served.wait(lambda: (r := served.flow_run(run["id"]))["state_name"] != "Running" or r["run_count"] > 1, LIMIT_S)
    return time.monotonic() - began


def _server(served: Served, run: dict, capture: Path) -> float:
    return _part(served, "server\0", lambda: answers(served.api_url, 1.0))


def _part(served: Served, words: str, there: Callable[[], object]) -> float:
    began = time.monotonic()
    served.kill(words)
    time.sleep(0.2)
    served.wait(lambda: _found(there), LIMIT_S)
    return time.monotonic() - began


def _found(there: Callable[[], object]) -> object:
    try:
        return there()
    except StopIteration:
        return None


def _everything(served: Served, run: dict, capture: Path) -> float:
    """The reboot drill: twin serve is started again at once."""
    began = time.monotonic()
    served.kill_everything()
    served.start()
    return time.monotonic() - began


def _child(served: Served, capture: Path) -> int:
    child = stage_child(served, KILLED_IN, capture)
    assert child is not None, "the stage ended before it was killed: the drill's settings are too quick"
    return child


KILLS = {
    "stage": _stage,
    "flow process": _flow_process,
    "worker": _worker,
    "worker with its run": _worker_and_run,
    "server": _server,
    "everything": _everything,
}
