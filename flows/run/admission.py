"""Whether one more run may begin on this machine: by its cores, by the memory that is free and that the runs under way may still take, and
by the disk of the store.

    cores    one run for each two cores, and one more, which fills them while others start or end
    memory   what a run held at its peak lately, in this store; before any is known, what its stages say they need
    disk     TWIN_MIN_FREE_GB (1) has to be free, or no run is begun at all

The first run of a machine is begun whatever the memory: its stages look themselves at what is free (stages/core/memory.py).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.records.run_record import RunRecord, RunRecords
from flows.run.neighbours import Neighbour, cores, neighbours
from flows.run.stage_child import load_stages
from stages.core.disk_errors import free_bytes, size
from stages.core.errors import ConfigError
from stages.core.memory import free_gb, total_gb
from stages.core.store import Store

AUTO = "auto"
MOST_AT_ONCE = 500
CORES_A_RUN = 2
FLOW_GB = 0.35
"""of the process of the flow, beside its stage"""
KEPT_FREE, KEPT_FREE_GB = 0.1, 1.0
"""share of the memory that is left to the system, and at least so much"""
LATELY = 30
MIN_FREE = "TWIN_MIN_FREE_GB"


@dataclass(frozen=True)
class Machine:
    """What there is, as it is now."""

    cores: int
    total_gb: float
    free_gb: float

    @classmethod
    def here(cls) -> Machine:
        """This one, or what the container may have of it."""
        return cls(cores(), total_gb(), free_gb())


@dataclass(frozen=True)
class Room:
    """How many runs more may begin, and in words why not more."""

    runs: int
    why: str


def room_for(machine: Machine, growing_gb: Iterable[float], one_more_gb: float) -> Room:
    """`growing_gb`: for each run under way what it may still take beyond what it holds now; `one_more_gb`: what another will hold."""
    under_way = list(growing_gb)
    by_cores = machine.cores // CORES_A_RUN + 1 - len(under_way)
    kept = max(KEPT_FREE * machine.total_gb, KEPT_FREE_GB)
    left = machine.free_gb - kept - sum(under_way)
    by_memory = math.floor(left / one_more_gb + 1e-9) if left > 0 else 0
    if by_cores <= by_memory:
        return Room(max(by_cores, 0), f"{len(under_way)} runs are under way on {machine.cores} cores")
    if not under_way and by_memory < 1:
        return Room(1, "it is the first; its stages look at the memory themselves")
    return Room(
        max(by_memory, 0),
        f"a run holds up to {one_more_gb:.1f} GB, and of {machine.free_gb:.1f} GB free {sum(under_way):.1f} GB "
        f"are for the {len(under_way)} runs under way and {kept:.1f} GB are left alone",
    )


def limit_of(text: str) -> int | None:
    """Of an option that says a number or "auto", which is None. Raises ConfigError."""
    if text == AUTO:
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise ConfigError(
        f"{text!r} is no number of runs", f"give 1 or more, or {AUTO}: as many as the machine has room for"
    )


def needed_gb(profile: str, records: Iterable[RunRecord]) -> float:
    """What a run of this profile held at its peak lately; without any, the most that a stage says it needs."""
    peaks = [
        max((s.peak_memory_mb for s in r.stages.values()), default=0)
        for r in records
        if r.request["profile"] == profile
    ]
    measured = max((p for p in peaks if p), default=0) / 1e3
    return FLOW_GB + (measured or max(stage.needs.memory_gb for stage in load_stages("stereo")))


def why_paused(store: Store) -> str:
    """Why no run is begun at all; empty if nothing is against it. Raises ConfigError."""
    text = os.environ.get(MIN_FREE, "1")
    try:
        least = float(text) * 1e9
    except ValueError as e:
        raise ConfigError(f"{MIN_FREE}={text} is not a number", "give gigabytes, for example 5") from e
    free = free_bytes(store.root)
    if free is None or free >= least:
        return ""
    return (
        f"no run is begun: {size(free)} are free on the disk of the store {store.root}, {size(least)} have to be ({MIN_FREE}). "
        "What to do: `twin clean --keep-gb N`, or a larger disk"
    )


class Admission:
    """Of one worker."""

    def __init__(self, store: Store, limit: int | None = None) -> None:
        """`limit`: so many whatever the machine has; only a full disk is in their way then."""
        self.store, self._records, self._limit = store, RunRecords(store), limit

    def room(self, own: Collection[str], profile: str) -> Room:
        """For runs of a profile. `own`: the flow runs that this worker has started; those without a process yet will need all of it."""
        if self._limit is not None:
            return Room(max(self._limit - len(own), 0), f"at most {self._limit} at once")
        there = neighbours()
        one_more = needed_gb(profile, self._records.recent(LATELY))
        starting = set(own) - {n.flow_run for n in there}
        return room_for(Machine.here(), [*map(self._growing, there), *(one_more for _ in starting)], one_more)

    def _growing(self, run: Neighbour) -> float:
        return max(0.0, run.needs_gb - held_by(run.pid))


def held_by(pid: int) -> float:
    """Memory of a process and all below it, GB; what they share is counted once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += _proportional(process.pid)
    return total / 1e9


def _proportional(pid: int) -> int:
    """Bytes, each page divided by those who share it; 0 for one that has gone or is another user's."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return 0
