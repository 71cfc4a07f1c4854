"""A short capture that tests may break, and a way to run the stage on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.base import StageContext
from stages.core.capture import capture_ref
from stages.core.frames import read_table
from stages.rectify.config import RectifyConfig
from stages.rectify.stage import STAGE


@pytest.fixture
def capture(synthetic_capture: Path, tmp_path: Path) -> Path:
    """8 pairs of the orbit capture, a private copy without its truth."""
    out = tmp_path / "capture"
    shutil.copytree(synthetic_capture, out, ignore=shutil.ignore_patterns("gt"))
    for p in [*out.glob("left/*"), *out.glob("right/*")]:
        if int(p.stem[-6:]) >= 8:
            p.unlink()
    return out


@pytest.fixture
def rectify(tmp_path: Path):
    """rectify(folder, **settings) -> report, rows by frame, out."""

    def run(folder: Path, **settings):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        inputs, config = {"capture": capture_ref(folder)}, RectifyConfig(**settings)
        STAGE.check(inputs, config)
        report = STAGE.run(inputs, config, out, StageContext(threads=2))
        return SimpleNamespace(report=report, out=out, rows={r["frame"]: r for r in read_table(out / "frames.parquet")})

    return run
