"""What a served run costs beside its stages: their processes, the flow around them, and the wait from its end to the next one's start."""

from __future__ import annotations

import statistics
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.flows.served import Served
from tools.operations.bed import Bed, records, start

RUNS = 5
LIMIT_S = 900.0
"""the first run of a fresh checkout compiles all kernels, which takes minutes beside other work"""


def measure_served(bed: Bed) -> dict:
    """Seconds, medians of runs that wait for each other, one at a time; the first one is left out."""
    served = bed.serve("served", runs=1, patience_s=LIMIT_S)
    try:
        begun = [start(served, bed.capture(served.captures / f"c{k}"))["id"] for k in range(RUNS)]
        ended = sorted((served.wait_for(number, "Completed") for number in begun), key=lambda r: r["start_time"])
        parts = [_parts(served, run) for run in ended[1:]]
    finally:
        served.stop()
    idle = [_seconds(before["end_time"], after["start_time"]) for before, after in pairwise(ended)]
    return {
        **{name: _spread([p[name] for p in parts]) for name in parts[0]},
        "idle_s": _spread(idle),
        "repeats": len(parts),
    }


def _parts(served: Served, run: dict[str, Any]) -> dict[str, float]:
    """Of one run: its stages' computing, what their processes cost beside it, and what the flow cost beside them."""
    stages = next(r for r in records(served.store) if r["flow_run"] == run["id"])["stages"].values()
    computing, in_processes = sum(s["computed_in_s"] for s in stages), sum(s["seconds"] for s in stages)
    return {
        "computing_s": computing,
        "processes_s": in_processes - computing,
        "flow_s": _seconds(run["start_time"], run["end_time"]) - in_processes,
    }


def _seconds(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 2), "max": round(max(values), 2)}
