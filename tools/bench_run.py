"""One timed `twin reconstruct` as a user would run it, and what machine it ran on; shared by the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class TimedRun:
    """How a run went."""

    exit_code: int
    wall_s: float
    log: Path
    run: dict
    """run.json; empty when the run failed"""

    @property
    def peak_memory_mb(self) -> int | None:
        """The largest stage process."""
        return (
            max((int(stage["peak_memory_mb"]) for stage in self.run["stages"].values()), default=None)
            if self.run
            else None
        )

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Wall seconds of each stage."""
        return {name: stage["seconds"] for name, stage in self.run.get("stages", {}).items()}


def reconstruct(
    capture: Path, out: Path, store: Path, profile: str = "standard", settings: list[str] | None = None, cores: int = 0
) -> TimedRun:
    """Reconstruct `capture` in a process of its own, on the first `cores` processors only (0 = all of them)."""
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(out),
        "--profile",
        profile,
        *(settings or []),
    ]
    log = out.with_name(out.name + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    allowed = sorted(os.sched_getaffinity(0))
    started = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.run(
            command,
            env={**os.environ, "TWIN_STORE": str(store), "PYTHONPATH": str(ROOT)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
            preexec_fn=(lambda: os.sched_setaffinity(0, allowed[:cores])) if cores else None,
        )
    wall = time.perf_counter() - started
    run = json.loads((out / "run.json").read_text()) if process.returncode == 0 else {}
    return TimedRun(process.returncode, round(wall, 1), log, run)


def circumstances() -> dict[str, str]:
    """Date, machine and commit: what every page of figures states."""
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine(), "commit": commit()}


def machine() -> str:
    """Cores, processor, memory and Python in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory} GiB, Python {platform.python_version()}"


def commit() -> str:
    """Short id of the commit that is checked out."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
