"""The stage's contract: what it writes, given depth, frames that fail, settings it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.base import StageContext
from stages.core.config import resolve
from stages.core.errors import ConfigError, StageError
from stages.core.frames import read_table, write_table
from stages.core.images import read_disparity, read_mask, read_sigma, write_disparity
from stages.core.store import ArtifactRef
from stages.depth.config import DepthConfig
from stages.depth.methods import METHODS, choose
from stages.depth.stage import STAGE
from stages.graph import stages

KINDS = STAGE.inputs


def _copy(truth: dict[str, ArtifactRef], folder: Path, frames: int) -> dict[str, ArtifactRef]:
    """The first frames of a capture's inputs, in a folder that may be broken."""
    for kind in KINDS:
        source = truth[kind].path
        shutil.copytree(source, folder / kind) if source.is_dir() else shutil.copyfile(source, folder / kind)
    write_table(folder / "frames.parquet", read_table(folder / "frames.parquet")[:frames])
    return {kind: ArtifactRef(kind, folder / kind, kind) for kind in KINDS}


def test_measures_the_built_in_capture(truth: dict[str, ArtifactRef], synthetic_capture: Path, tmp_path: Path) -> None:
    inputs = _copy(truth, tmp_path / "in", 3)
    calls = []
    out = tmp_path / "out"
    STAGE.check(inputs, DepthConfig())
    report = STAGE.run(inputs, DepthConfig(), out, StageContext(threads=2, progress=lambda *a: calls.append(a)))
    assert [c[:2] for c in calls] == [(1, 3), (2, 3), (3, 3)]
    assert report.frames == {"ok": 3} and report.method == "sgm" and report.metrics["frames_with_depth"] == 3
    for caption, name in report.pictures:
        assert caption and (out / name).stat().st_size < 150_000
    for k in range(3):
        found, sigma = (
            read_disparity(out / "disparity" / f"{k:06d}.png"),
            read_sigma(out / "disparity/sigma" / f"{k:06d}.png"),
        )
        true = read_disparity(synthetic_capture / "gt/disparity" / f"{k:06d}.png")
        good = read_mask(synthetic_capture / "gt/masks" / f"{k:06d}.png") & np.isfinite(found)
        error = np.abs(found - true)[good]
        assert good.sum() > 0.7 * read_mask(synthetic_capture / "gt/masks" / f"{k:06d}.png").sum()
        assert np.median(error) < 0.35
        assert np.mean(error < 2 * sigma[good]) > 0.85


def test_one_and_two_threads_write_the_same(truth: dict[str, ArtifactRef], tmp_path: Path) -> None:
    inputs = _copy(truth, tmp_path / "in", 2)
    for threads in (1, 2):
        STAGE.run(inputs, DepthConfig(), tmp_path / str(threads), StageContext(threads=threads))
    for name in ("000000.png", "sigma/000001.png"):
        assert (tmp_path / "1/disparity" / name).read_bytes() == (tmp_path / "2/disparity" / name).read_bytes()


def test_given_depth_is_taken_as_it_is(truth: dict[str, ArtifactRef], tmp_path: Path) -> None:
    inputs = _copy(truth, tmp_path / "in", 2)
    given = np.full((300, 400), 31.5, np.float32)
    given[:10] = np.nan
    (tmp_path / "in/given/given.json").write_text(json.dumps({"masks": False, "depth": True}))
    for k in range(2):
        write_disparity(tmp_path / "in/given/disparity" / f"{k:06d}.png", given)
    report = STAGE.run(inputs, DepthConfig(given_sigma_px=0.5), tmp_path / "out", StageContext(threads=1))
    assert report.method == "given"
    np.testing.assert_array_equal(read_disparity(tmp_path / "out/disparity/000001.png"), given)
    sigma = read_sigma(tmp_path / "out/disparity/sigma/000001.png")
    assert np.nanmax(sigma) == 0.5 and np.isnan(sigma[:10]).all()


def test_an_unreadable_frame_is_counted_and_left_empty(truth: dict[str, ArtifactRef], tmp_path: Path) -> None:
    inputs = _copy(truth, tmp_path / "in", 3)
    broken = tmp_path / "in/pairs/right/000001.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    report = STAGE.run(inputs, DepthConfig(), tmp_path / "out", StageContext(threads=2))
    assert report.frames == {"ok": 2, "unreadable": 1}
    assert any("frame 1" in w for w in report.warnings)
    assert np.isnan(read_disparity(tmp_path / "out/disparity/000001.png")).all()


def test_no_usable_frame_is_an_error(truth: dict[str, ArtifactRef], tmp_path: Path) -> None:
    inputs = _copy(truth, tmp_path / "in", 2)
    rows = [{**r, "status": "broken"} for r in read_table(tmp_path / "in/frames.parquet")]
    write_table(tmp_path / "in/frames.parquet", rows)
    with pytest.raises(StageError, match="no frame"):
        STAGE.check(inputs, DepthConfig())


@pytest.mark.parametrize("setting", [{"steps": 0}, {"work_megapixels": -1.0}, {"max_sigma_px": 0.0}])
def test_impossible_settings_are_refused(setting: dict, truth: dict[str, ArtifactRef], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        STAGE.check(_copy(truth, tmp_path / "in", 1), DepthConfig(**setting))


def test_every_profile_resolves_and_auto_can_always_run() -> None:
    for profile in ("preview", "standard", "quality"):
        config = resolve({s.name: s.Config for s in stages()}, profile).stages["depth"]
        assert choose(config.method)[0] in METHODS
    with pytest.raises(ConfigError):
        resolve({"depth": DepthConfig}, overrides=["depth.method=magic"])
