"""<store>/metrics.prom: what the runs of this store came to, in Prometheus' text format, for a node exporter's textfile collector.

Counted from the run records, so `twin clean --older-than` makes figures smaller: they are gauges, not counters.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from flows.places import captures_root
from flows.ready import has_twin, ready_captures, was_begun
from flows.run_record import RunRecord
from stages.core.errors import CaptureError
from stages.core.store import Store

log = logging.getLogger(__name__)
FILE = "metrics.prom"
STATES = ("running", "done", "failed", "interrupted", "died")


def write_metrics(store: Store, records: Sequence[RunRecord]) -> None:
    """Replace the file atomically. That it cannot be written is logged: no run fails for it."""
    path = store.root / FILE
    partial = path.with_name(f"{FILE}.{os.getpid()}.partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(metrics_text(store, records))
        partial.replace(path)
    except OSError as e:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        log.warning("cannot write %s: %s", path, e.strerror)


def metrics_text(store: Store, records: Sequence[RunRecord]) -> str:
    """All figures."""
    done = [r for r in records if r.state == "done"]
    states = Counter(r.state for r in records)
    lines = [*_gauge("twin_runs", "Known runs by state.", "state", {s: states[s] for s in STATES}),
             *_gauge("twin_stage_failures", "Runs that ended in this stage.", "stage", _failures(records)),
             *_summary("twin_stage_seconds", "Seconds to compute a stage's result; results from the store are not counted.", "stage",
                       _computed_seconds(records)),
             *_gauge("twin_stage_from_store", "Results that a run took from the store.", "stage", _from_store(records)),
             *_summary("twin_run_seconds", "Seconds of finished runs.", "", {"": [r.seconds for r in done]}),
             *_gauge("twin_store_free_bytes", "Free bytes on the store's disk.", "", {"": shutil.disk_usage(store.root).free}),
             *_gauge("twin_metrics_written_seconds", "When this file was written, seconds since the epoch.", "", {"": round(time.time())})]
    waiting = captures_waiting(records)
    if waiting is not None:
        lines += _gauge("twin_captures_waiting", "READY captures of which no run has begun.", "", {"": waiting})
    return "\n".join(lines) + "\n"


def captures_waiting(records: Iterable[RunRecord]) -> int | None:
    """Complete captures in the captures folder without a run that began after their marker; None if there is no such folder."""
    runs: dict[str, list[RunRecord]] = defaultdict(list)
    for r in records:
        runs[r.request["capture"]].append(r)
    try:
        return sum(not any(was_begun(c, r) for r in runs.get(str(c.path), ())) and not has_twin(c) for c in ready_captures(captures_root()))
    except (CaptureError, OSError):
        return None


def _failures(records: Iterable[RunRecord]) -> Counter[str]:
    return Counter(name for r in records for name, s in r.stages.items() if s.state in ("failed", "died"))


def _from_store(records: Iterable[RunRecord]) -> Counter[str]:
    return Counter(name for r in records for name, s in r.stages.items() if s.state == "done" and s.cached)


def _computed_seconds(records: Iterable[RunRecord]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for r in records:
        for name, s in r.stages.items():
            if s.state == "done" and not s.cached:
                seconds[name].append(s.seconds)
    return seconds


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} gauge", *(f"{name}{_labels(label, k)} {v}" for k, v in sorted(values.items()))]


def _summary(name: str, text: str, label: str, values: Mapping[str, Sequence[float]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} summary"]
    for key, seconds in sorted(values.items()):
        lines += [f"{name}_sum{_labels(label, key)} {sum(seconds):.3f}", f"{name}_count{_labels(label, key)} {len(seconds)}"]
    return lines


def _labels(label: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{label}="{escaped}"}}' if label else ""
