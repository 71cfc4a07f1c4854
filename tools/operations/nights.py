"""Seven nights in minutes: a schedule starts a batch each `NIGHT_S` seconds, captures arrive in between. Each has to be made once."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.flows.conftest import make_capture
from tests.flows.served import TOY, Served, named
from tools.operations.bed import Bed

NIGHTS, NIGHT_S, ARRIVE = 7, 60.0, 2


def measure_nights(bed: Bed) -> dict:
    """How late each batch began, and how many runs each capture got. Toy stages: it is the calendar that is looked at."""
    served = bed.serve("nights", env=TOY)
    try:
        return live_through(served, NIGHT_S)
    finally:
        served.stop()


def live_through(served: Served, night_s: float) -> dict:
    """The figures of seven nights of so many seconds, on an installation with toy stages."""
    root, first = served.folder / "nights", datetime.now(UTC) + timedelta(seconds=night_s)
    root.mkdir()
    _schedule(served, night_s, first, str(root))
    captures: list[str] = []
    for night in range(NIGHTS):
        for _ in range(ARRIVE):
            captures.append(str(make_capture(root / f"c{len(captures):02d}")))
            (Path(captures[-1]) / "READY").touch()
        time.sleep(max(0.0, (first + timedelta(seconds=(night + 0.5) * night_s) - datetime.now(UTC)).total_seconds()))
    batches = served.wait(lambda: len(b := _of(served, "reconstruct-batch", "root", [str(root)])) >= NIGHTS and b)[
        :NIGHTS
    ]

    def runs():
        return [r for r in _of(served, "reconstruct-capture", "capture", captures) if r["state_name"] == "Completed"]

    served.wait(lambda: len({r["parameters"]["capture"] for r in runs()}) == len(captures))
    late = [(_time(b["start_time"]) - _time(b["expected_start_time"])).total_seconds() for b in batches]
    count = Counter(r["parameters"]["capture"] for r in _of(served, "reconstruct-capture", "capture", captures))
    return {
        "nights": NIGHTS,
        "night_s": night_s,
        "captures": len(captures),
        "captures_with_one_run": sum(n == 1 for n in count.values()),
        "runs": sum(count.values()),
        "twins": len(list(served.twins.glob("c[0-9][0-9]-*/run.json"))),
        "late_s": {"median": round(statistics.median(late), 1), "max": round(max(late), 1)},
    }


def _schedule(served: Served, night_s: float, first: datetime, root: str) -> None:
    """As the UI makes an interval."""
    deployment = served.api(f"/deployments/name/{named('reconstruct-batch')}")["id"]
    times = {"interval": night_s, "anchor_date": first.isoformat(), "timezone": "UTC"}
    made = {"schedule": times, "active": True, "parameters": {"root": root}, "slug": "nights"}
    served.api(f"/deployments/{deployment}/schedules", [made])
    served.api(f"/deployments/{deployment}/schedule", {})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _of(served: Served, flow: str, parameter: str, values: list[str]) -> list[dict]:
    """Flow runs that have begun and are of these, by their time."""
    begun = {"state": {"type": {"not_any_": ["SCHEDULED", "PENDING"]}}}
    found = served.api(
        "/flow_runs/filter",
        {"sort": "EXPECTED_START_TIME_ASC", "flows": {"name": {"any_": [flow]}}, "flow_runs": begun},
    )
    return [r for r in found if r["parameters"].get(parameter) in values]
