"""What orchestration costs when there is nothing to compute: the same cached run without Prefect, embedded, and against a server."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.flows.served import ROOT
from tests.flows.tiny import SETTINGS
from tools.operations.bed import Bed

REPEATS = 3


def measure_overhead(bed: Bed) -> dict:
    """Median wall and processor seconds of a run whose stages are all in the store, of the whole command."""
    served = bed.serve("overhead")
    try:
        capture = bed.capture(bed.work / "overhead" / "cached")
        _twin(served.store, capture, {}, "--no-prefect")
        running = {"PREFECT_API_URL": served.api_url, "PREFECT_API_AUTH_STRING": served.auth}
        kinds = {"without Prefect": ({}, "--no-prefect"), "embedded": ({}, ""), "running server": (running, "")}
        return {
            name: _median([_twin(served.store, capture, env, option) for _ in range(REPEATS)])
            for name, (env, option) in kinds.items()
        }
    finally:
        served.stop()


def _median(runs: list[tuple[float, float]]) -> dict:
    return {
        "wall_s": round(statistics.median(w for w, _ in runs), 2),
        "cpu_s": round(statistics.median(c for _, c in runs), 2),
        "repeats": len(runs),
    }


def _twin(store: Path, capture: Path, env: dict[str, str], option: str) -> tuple[float, float]:
    """Wall seconds, and processor seconds of the command and of all it waited for."""
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(store.parent / "twin"),
        "--profile",
        "preview",
    ]
    began, before = time.monotonic(), os.times()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    subprocess.run(
        [*command, *filter(None, [option]), *SETTINGS],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**clean, "TWIN_STORE": str(store), "PYTHONPATH": str(ROOT), **env},
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, cpu
