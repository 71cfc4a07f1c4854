"""What the measurements share: tiny real captures, a real `twin serve`, and what a run left in its log."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from tests.flows.served import Served
from tests.flows.tiny import SETTINGS, render_base, write_tiny

COMPUTING = re.compile(r"^(\S+ \S+) INFO flows\.run\.run: (\w+): computing")
LONG = "surface.geometry_steps=800"
"""keeps the stage surface busy for some seconds, so that there is something to kill"""


class Bed:
    """A work folder with a served installation; captures are named and numbered so that none is like another."""

    def __init__(self, work: Path) -> None:
        self.work, self._seed = work, 0
        self.base = render_base(work / "base")

    def serve(self, name: str, **options: Any) -> Served:
        """A fresh installation in an empty folder of the work folder."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return Served(folder, **options)

    def capture(self, folder: Path) -> Path:
        """One more tiny capture, without its marker."""
        self._seed += 1
        return write_tiny(self.base, folder, self._seed)


def start(served: Served, capture: Path, *settings: str) -> dict:
    """Start a run of a tiny capture as the UI does."""
    return served.create(
        "reconstruct-capture", capture=str(capture), profile="preview", settings=[*SETTINGS, *settings]
    )


def records(store: Path, capture: Path | None = None) -> list[dict]:
    """Run records, oldest first."""
    found = [json.loads(p.read_text()) for p in sorted((store / "runs").glob("*.json"))]
    return [r for r in found if capture is None or r["request"]["capture"] == str(capture)]


def computed(store: Path, capture: Path) -> list[tuple[float, str]]:
    """(seconds since the epoch, stage) of every time a stage of this capture was computed, from the logs of its runs."""
    found = []
    for log in {r["log"] for r in records(store, capture)}:
        for line in Path(log).read_text().splitlines():
            if match := COMPUTING.match(line):
                found.append((datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").timestamp(), match[2]))
    return sorted(found)


def executions(store: Path, capture: Path) -> dict[str, int]:
    """How often each stage of this capture was computed."""
    return dict(Counter(stage for _, stage in computed(store, capture)))


def stage_child(served: Served, stage: str, capture: Path) -> int | None:
    """Process id of the child that computes a stage of the capture now."""
    if not any(r["stages"].get(stage, {}).get("state") == "running" for r in records(served.store, capture)):
        return None
    for pid in served.processes():
        try:
            process = psutil.Process(pid)
            above = process.parent()
            forked = above is not None and "flows.run.warm_child" in above.cmdline()
            if forked or "flows.run.stage_child" in process.cmdline():
                return pid
        except psutil.Error:
            continue
    return None


def seconds_to(served: Served, condition, limit: float = 300.0) -> float:
    """Wall seconds until the condition holds."""
    began = time.monotonic()
    served.wait(condition, limit)
    return round(time.monotonic() - began, 2)
