"""A scan in two stages: the camera goes round a box, a hand turns it half-way, the camera goes on. Rendered, then run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.core.frames import read_table
from stages.core.images import read_mask
from tools.robustness.draw import draw
from tools.robustness.write import render

pytestmark = pytest.mark.slow
TURNED_BY_A_HAND = 1
FRAMES, WIDTH = 16, 384


def test_a_scan_in_two_stages_has_its_runs_of_rest_and_right_masks(tmp_path: Path):
    capture = render(TURNED_BY_A_HAND, tmp_path, draw(TURNED_BY_A_HAND, FRAMES, WIDTH))
    store = tmp_path / "store"
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(tmp_path / "twin"),
        "--no-prefect",
        "--threads",
        "2",
        "--until",
        "track",
    ]
    done = subprocess.run(
        command, env={**os.environ, "TWIN_STORE": str(store)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tracked = json.loads((next((store / "artifacts" / "track").iterdir()) / "manifest.json").read_text())["report"]
    assert tracked["metrics"]["scope"] == "object" and "moved in the scene" in tracked["reason"]
    folder = next((store / "artifacts" / "masks").iterdir())
    said = json.loads((folder / "manifest.json").read_text())["report"]["metrics"]
    assert "moved" in said["kind"] and said["intervals"].count(";") >= 2, said
    found = {r["frame"]: r for r in read_table(folder / "masks.parquet")}
    assert {r["rest"] for r in found.values()} >= {0, 1}
    overlap = {
        f: _overlap(read_mask(folder / "masks" / f"{f:06d}.png"), read_mask(capture / "gt/masks" / f"{f:06d}.png"))
        for f in found
    }
    assert np.mean(list(overlap.values())) > 0.85, overlap
    assert not [f for f, r in found.items() if r["status"] == "ok" and overlap[f] < 0.8]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
