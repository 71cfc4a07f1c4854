"""The figures of one store and its server, for Prometheus: what the runs came to, what goes on at this moment, what waits.

Counted from the run records, so `twin clean --older-than` makes figures smaller: they are gauges, not counters.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flows.captures.ready import has_twin, ready_captures, was_begun
from flows.captures.set_aside import why_set_aside
from flows.records.places import captures_root
from flows.records.run_record import RunRecord, RunRecords
from flows.records.states import STATES
from flows.run.admission import why_paused
from stages.core.errors import CaptureError
from stages.core.store import Store

CAPTURES_EVERY_S = 30.0
"""the captures folder may hold thousands, and is looked through no more often"""


def text_of(families: Iterable[Metric]) -> str:
    """In Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Made(list(families)))
    return generate_latest(registry).decode()


def of_records(store: Store, records: Sequence[RunRecord]) -> list[Metric]:
    """What is known of runs, and of the store's disk."""
    done, running = [r for r in records if r.state == "done"], [r for r in records if r.state == "running"]
    states = Counter(r.state for r in records)
    now = time.time()
    ended = max((r.started + r.seconds for r in records if r.state != "running"), default=0.0)
    return [
        gauge("twin_runs", "Known runs by state.", {s: states[s] for s in STATES}, "state"),
        gauge("twin_stage_failures", "Runs that ended in this stage.", _failures(records), "stage"),
        gauge("twin_stage_running", "Runs that are in this stage now.", _in_stage(running), "stage"),
        gauge(
            "twin_run_oldest_seconds",
            "Since when the oldest run under way goes on; 0 without one.",
            max((now - r.started for r in running), default=0.0),
        ),
        gauge("twin_last_run_ended_seconds", "When a run ended last, seconds since the epoch; 0 if none did.", ended),
        summary(
            "twin_stage_seconds",
            "Seconds to compute a stage's result; results from the store are not counted.",
            _computed_seconds(records),
            "stage",
        ),
        gauge("twin_stage_from_store", "Results that a run took from the store.", _from_store(records), "stage"),
        summary("twin_run_seconds", "Seconds of finished runs.", {"": [r.seconds for r in done]}),
        gauge("twin_store_free_bytes", "Free bytes on the store's disk.", shutil.disk_usage(store.root).free),
        gauge("twin_paused", "1 while the store's disk is so full that no run is begun.", int(bool(why_paused(store)))),
        gauge(
            "twin_store_damaged",
            "Results that were found damaged and set aside.",
            len(list((store.root / "corrupt").glob("*"))),
        ),
        gauge("twin_metrics_written_seconds", "When these figures were taken, seconds since the epoch.", round(now)),
    ]


def of_captures(records: Iterable[RunRecord]) -> list[Metric]:
    """What waits in the captures folder; nothing where there is no such folder."""
    found = look_at_captures(records)
    if found is None:
        return []
    return [
        gauge("twin_captures_waiting", "READY captures of which no run has begun.", found.waiting),
        gauge(
            "twin_captures_set_aside",
            "READY captures that failed three nights in a row for one reason.",
            len(found.set_aside),
        ),
    ]


@dataclass(frozen=True)
class Captures:
    """Of the captures folder: how many are complete and have no run that began after their marker, and who is set aside why."""

    waiting: int
    set_aside: dict[str, str]
    """note by folder"""


def look_at_captures(records: Iterable[RunRecord]) -> Captures | None:
    """None if there is no captures folder. `records`: newest first."""
    runs: dict[str, list[RunRecord]] = defaultdict(list)
    for r in records:
        runs[r.request["capture"]].append(r)
    try:
        captures = ready_captures(captures_root())
    except (CaptureError, OSError):
        return None
    begun = {c.path: [r for r in runs.get(str(c.path), ()) if was_begun(c, r)] for c in captures}
    notes = {str(c.path): note for c in captures if (note := why_set_aside(c, begun[c.path]))}
    return Captures(sum(not begun[c.path] and not has_twin(c) for c in captures), notes)


class Figures:
    """What /metrics answers, taken when it is asked for. Records of runs that are over are read once.

    `of_server`: the server's figures, where there is one.
    """

    def __init__(self, store: Store, of_server: Callable[[], list[Metric]] = list) -> None:
        self._store, self._records, self._of_server = store, RunRecords(store), of_server
        self._known: dict[str, tuple[int, RunRecord]] = {}
        self._captures: list[Metric] = []
        self._captures_due = 0.0
        self._turn = threading.Lock()

    def text(self) -> str:
        """All figures as they are now; those of the captures folder may be CAPTURES_EVERY_S old."""
        with self._turn:  # askers that come at once take turns
            records = self._records.again(self._known)
            if time.monotonic() >= self._captures_due:
                self._captures = of_captures(records)
                self._captures_due = time.monotonic() + CAPTURES_EVERY_S
            self._store.root.mkdir(parents=True, exist_ok=True)
            return text_of([*of_records(self._store, records), *self._captures, *self._of_server()])


def gauge(name: str, text: str, values: Mapping[str, float] | float, label: str = "") -> Metric:
    """One figure, or one for each value of a label."""
    if not isinstance(values, Mapping):
        return GaugeMetricFamily(name, text, value=values)
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def summary(name: str, text: str, values: Mapping[str, Sequence[float]], label: str = "") -> Metric:
    """Sum and count, for each value of a label if there is one."""
    family = SummaryMetricFamily(name, text, labels=[label] if label else [])
    for key, seconds in sorted(values.items()):
        family.add_metric([key] if label else [], len(seconds), round(sum(seconds), 3))
    return family


class _Made(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _failures(records: Iterable[RunRecord]) -> Counter[str]:
    return Counter(name for r in records for name, s in r.stages.items() if s.state in ("failed", "died"))


def _in_stage(running: Iterable[RunRecord]) -> Counter[str]:
    return Counter(name for r in running for name, s in r.stages.items() if s.state == "running")


def _from_store(records: Iterable[RunRecord]) -> Counter[str]:
    return Counter(name for r in records for name, s in r.stages.items() if s.state == "done" and s.cached)


def _computed_seconds(records: Iterable[RunRecord]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for r in records:
        for name, s in r.stages.items():
            if s.state == "done" and not s.cached:
                seconds[name].append(s.seconds)
    return seconds
