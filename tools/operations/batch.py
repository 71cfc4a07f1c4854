"""A batch of many tiny captures, one of them bad: what is lost, what it takes, and what grows."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.flows.served import Served
from tests.flows.tiny import SETTINGS, spoil
from tools.operations.bed import Bed, executions, records

BAD = "bad"
PAGE = 200
SAMPLE_EVERY_S = 5.0
PARTS = {"server": "server\0", "worker": "worker\0twin\0", "batch worker": "worker\0twin-batch\0", "watcher": "watcher"}
TROUBLE = re.compile(r"database is locked|Traceback|OperationalError|ERROR", re.IGNORECASE)


def measure_batch(bed: Bed, captures: int, runs_at_once: int | str = 1) -> dict:
    """Figures of one reconstruct-batch over `captures` captures."""
    served = bed.serve("batch", runs=runs_at_once, patience_s=120 + 300 * captures)
    try:
        root = _make(bed, captures)
        pids = {name: served.part(words) for name, words in PARTS.items()}
        served.wait(
            lambda: all(served.api(f"/work_pools/{pool}")["status"] == "READY" for pool in ("twin", "twin-batch"))
        )
        with Samples(pids) as samples:
            cpu, began = _cpu(pids), time.monotonic()
            batch = served.create("reconstruct-batch", root=str(root), profile="preview", settings=list(SETTINGS))
            over = ("Completed", "Failed", "Crashed")  # asked seldom: asking costs the server, which is being measured
            ended = served.wait(
                lambda: (r := served.flow_run(batch["id"]))["state_name"] in over and r, every_s=SAMPLE_EVERY_S
            )
            wall, spent = time.monotonic() - began, {k: v - cpu[k] for k, v in _cpu(pids).items()}
        per_capture = {k: round(v / captures, 2) for k, v in spent.items()}
        return {
            "captures": captures,
            "runs_at_once": runs_at_once,
            **_what_happened(served, root, ended),
            "wall_s": round(wall),
            "seconds_per_capture": round(wall / captures, 2),
            "cpu_s_per_capture": per_capture,
            "memory_mb": samples.summary(),
            "trouble_in_logs": trouble(served.store / "prefect" / "serve" / "logs"),
            "disk_mb": _disk(served),
            "restarted_parts": served.said().count("starting it again"),
        }
    finally:
        served.stop()


def _make(bed: Bed, captures: int) -> Path:
    root = bed.work / "batch" / "night"
    for k in range(captures):
        capture = bed.capture(root / (BAD if k == captures // 2 else f"c{k:04d}"))
        if capture.name == BAD:
            spoil(capture)
        (capture / "READY").touch()
    return root


def _what_happened(served: Served, root: Path, batch: dict) -> dict:
    runs = all_runs(served)
    per_capture = Counter(r["parameters"]["capture"] for r in runs if "capture" in r["parameters"])
    states = Counter(r["state_name"] for r in runs if "capture" in r["parameters"])
    captures = sorted(p for p in root.iterdir() if p.is_dir())
    twice = [c.name for c in captures if max(executions(served.store, c).values(), default=0) > 1]
    said = (batch["state"]["message"] or "").replace(str(served.folder), "...")
    return {
        "batch": batch["state_name"],
        "batch_says": said,
        "states": dict(states),
        "captures_with_one_run": sum(per_capture[str(c)] == 1 for c in captures),
        "stages_computed_twice": twice,
        "twins": len(list(served.twins.glob("*/run.json"))),
        "records": len(records(served.store)),
    }


def all_runs(served: Served) -> list[dict]:
    """Every flow run; the server gives no more than 200 at a time."""
    found: list[dict] = []
    while page := served.api(
        "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC", "limit": PAGE, "offset": len(found)}
    ):
        found += page
    return found


def trouble(logs: Path) -> dict[str, int]:
    """Lines of the parts' logs that speak of trouble, by what they say."""
    found = Counter(
        match[0].lower()
        for p in logs.glob("*.log")
        for line in p.read_text(errors="replace").splitlines()
        if (match := TROUBLE.search(line))
    )
    return dict(found)


def _cpu(pids: dict[str, int]) -> dict[str, float]:
    """Processor seconds of each part; `runs` are what the worker started."""
    spent = {name: (t := psutil.Process(pid).cpu_times()).user + t.system for name, pid in pids.items()}
    worker = psutil.Process(pids["worker"]).cpu_times()
    return {**spent, "runs": worker.children_user + worker.children_system}


def _disk(served: Served) -> dict[str, float]:
    parts = {
        "artifacts": served.store / "artifacts",
        "prefect": served.store / "prefect",
        "runs": served.store / "runs",
        "twins": served.twins,
    }
    return {
        name: round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1)
        for name, folder in parts.items()
    }


class Samples:
    """Resident memory of the parts, every few seconds while a context is open."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids, self._stop = pids, threading.Event()
        self._found: list[dict[str, int]] = [self._now()]
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Samples:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def summary(self) -> dict[str, dict[str, int | list[int]]]:
        """Before, highest, after, and at each tenth of the time."""
        step = max(1, len(self._found) // 10)
        return {
            name: {
                "before": self._found[0][name],
                "highest": max(s[name] for s in self._found),
                "after": self._found[-1][name],
                "course": [s[name] for s in self._found[::step]],
            }
            for name in self._pids
        }

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self._found.append(self._now())

    def _now(self) -> dict[str, int]:
        return {name: _resident(pid) for name, pid in self._pids.items()}


def _resident(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss >> 20
    except psutil.Error:
        return 0
