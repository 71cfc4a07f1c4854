"""How fast it reacts: from a READY marker to a run, from Cancel to silence."""

from __future__ import annotations

import statistics
import time

import psutil

from tests.flows.served import Served
from tests.flows.tiny import write_settings
from tools.operations.bed import Bed, records, seconds_to, stage_child, start

REPEATS = 3


def measure_ready(bed: Bed) -> dict:
    """Seconds from touching READY until the flow run is Running, and until its record says that stages are under way."""
    served = bed.serve("ready")
    try:
        found = [_ready(bed, served, k) for k in range(REPEATS)]
    finally:
        served.stop()
    return {
        "to_running_s": _spread(r for r, _ in found),
        "to_first_stage_s": _spread(s for _, s in found),
        "repeats": REPEATS,
    }


def _ready(bed: Bed, served: Served, number: int) -> tuple[float, float]:
    name = f"arrival{number}"
    capture = bed.capture(served.captures / name)
    write_settings(capture)
    began = time.monotonic()
    (capture / "READY").touch()
    served.wait(lambda: any(r["start_time"] for r in served.runs(name)))
    running = time.monotonic() - began
    served.wait(lambda: records(served.store, capture))
    first = time.monotonic() - began
    served.wait_state(name, "Completed")
    return round(running, 2), round(first, 2)


def measure_cancel(bed: Bed) -> dict:
    """Seconds from Cancel (as the UI does it) until the stage's process is gone, and until the run says so; what is left in the store."""
    served = bed.serve("cancel")
    try:
        found = [_cancel(bed, served, k) for k in range(REPEATS)]
    finally:
        served.stop()
    gone, said, left = zip(*found, strict=True)
    return {
        "to_process_gone_s": _spread(gone),
        "to_cancelled_s": _spread(said),
        "work_folders_left": max(left),
        "repeats": REPEATS,
    }


def _cancel(bed: Bed, served: Served, number: int) -> tuple[float, float, int]:
    capture = bed.capture(served.captures / f"unwanted{number}")
    run = start(served, capture, "surface.geometry_steps=200000")
    child = served.wait(lambda: stage_child(served, "surface", capture), 300)
    began = time.monotonic()
    served.set_state(run["id"], "CANCELLING", "Cancelling")
    served.wait(lambda: not psutil.pid_exists(child), 120)
    gone = round(time.monotonic() - began, 2)
    served.wait_for(run["id"], "Cancelled", "Crashed", "Failed", seconds=120)
    said = time.monotonic() - began
    seconds_to(served, lambda: records(served.store, capture)[-1]["state"] != "running", 30)
    return gone, round(said, 2), len(list((served.store / "tmp").glob("*")))


def _spread(values) -> dict:
    values = sorted(values)
    return {"median": round(statistics.median(values), 2), "max": values[-1]}
