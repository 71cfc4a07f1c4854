"""How long a run will still take: what its stages took in earlier runs, or built-in shares, scaled by how this run gets on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping

from flows.records.run_record import RunRecord

BUILT_IN_S = {
    "rectify": 10.0,
    "rgbd": 10.0,
    "merge": 30.0,
    "turntable": 10.0,
    "depth": 40.0,
    "masks": 30.0,
    "track": 30.0,
    "bundle": 15.0,
    "surface": 120.0,
    "texture": 30.0,
    "physics": 15.0,
    "package": 10.0,
}
"""order of magnitude of a 40-pair capture on 2 cores; only their proportions matter once a run is under way"""
RUNS_CONSIDERED = 8
BELIEVABLE_FRACTION = 0.03
"""of a stage: before that its own pace is no guide"""


def expected_seconds(stages: Iterable[str], profile: str, records: Iterable[RunRecord]) -> dict[str, float]:
    """Per stage the median of what computing it took in the latest runs of this profile; built-in values where there are none."""
    taken: dict[str, list[float]] = {}
    for record in list(records):
        if record.request.get("profile") == profile:
            for name, s in record.stages.items():
                if s.state == "done" and s.computed_in_s > 0 and len(taken.setdefault(name, [])) < RUNS_CONSIDERED:
                    taken[name].append(s.computed_in_s)
    return {s: statistics.median(taken[s]) if taken.get(s) else BUILT_IN_S.get(s, 10.0) for s in stages}


class TimeLeft:
    """Fed with what a run does; `seconds()` at any time."""

    def __init__(self, expected_s: Mapping[str, float], clock=time.monotonic) -> None:
        self._expected, self._clock = dict(expected_s), clock
        self._waiting = list(expected_s)
        self._spent = self._planned = 0.0
        self._since: float | None = None
        self._stage, self._fraction = "", 0.0

    def started(self, stage: str) -> None:
        """A stage is under way."""
        self._stage, self._since, self._fraction = stage, self._clock(), 0.0
        if stage in self._waiting:
            self._waiting.remove(stage)

    def progress(self, done: int, total: int) -> None:
        """How much of the stage is done."""
        self._fraction = min(done / total, 1.0) if total > 0 else 0.0

    def finished(self, cached: bool) -> None:
        """The stage is done; only what was computed tells about the pace."""
        if not cached and self._since is not None:
            self._spent += self._clock() - self._since
            self._planned += self._expected.get(self._stage, 0.0)
        self._since = None

    def seconds(self) -> float:
        """Of the whole run, from now."""
        elapsed = 0.0 if self._since is None else self._clock() - self._since
        planned_now = 0.0 if self._since is None else self._expected.get(self._stage, 0.0)
        believable = self._fraction >= BELIEVABLE_FRACTION
        spent, planned = self._spent, self._planned
        if believable:
            spent, planned = spent + elapsed, planned + planned_now * self._fraction
        pace = spent / planned if planned > 0 else 1.0
        now = elapsed * (1 - self._fraction) / self._fraction if believable else max(planned_now * pace - elapsed, 0.0)
        return now + pace * sum(self._expected[s] for s in self._waiting)


def in_words(seconds: float) -> str:
    """ "45 s", "3 min 20 s", "1 h 05 min"."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02d} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02d} min"
