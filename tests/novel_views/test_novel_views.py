"""New views through the surface: better than a copy of the nearest picture, and a video that plays."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from stages.base import StageContext, inputs_of
from stages.core.backends import KITS
from stages.core.camera_service import look_at, orbit, sway
from stages.core.errors import MachineError
from stages.core.new_views.image_based import filled, psnr_inside
from stages.core.new_views.nearest import nearest
from stages.novel_views.config import NovelViewsConfig
from stages.novel_views.stage import STAGE


def _run(truth, out, config, **context):
    inputs = inputs_of(STAGE, truth)
    STAGE.check(inputs, config)
    return STAGE.run(inputs, config, out, StageContext(threads=1, **context))


def test_rendered_from_the_others_beats_the_nearest_picture(truth, tmp_path):
    report = _run(truth, tmp_path, NovelViewsConfig(score_every=4))
    figures = report.metrics
    assert figures["scored_pictures"] == 4 and figures["covered_share"] > 0.98
    assert figures["psnr_db"] > 24 and figures["psnr_db"] > figures["nearest_copied_db"] + 6
    scores = json.loads((tmp_path / "novel_views/scores.json").read_text())
    assert all(s["nearest"] != s["frame"] and 0 < s["angle_deg"] < 40 for s in scores)
    assert (tmp_path / report.pictures[0][1]).stat().st_size <= 150_000


def test_blending_is_better_than_one_picture(truth, tmp_path):
    for blended in (1, 4):
        (tmp_path / str(blended)).mkdir()
    one, four = (
        _run(truth, tmp_path / str(b), NovelViewsConfig(score_every=8, blended=b)).metrics["psnr_db"] for b in (1, 4)
    )
    assert four > one


def test_the_nearest_input_is_by_direction_then_distance():
    view = look_at((0, 0, 3.0))
    inputs = {1: look_at((0.3, 0, 3.0)), 2: look_at((0, 0, 6.1)), 3: look_at((0, 0, -3.0)), 4: look_at((0, 0.1, 3.2))}
    order = nearest(view, inputs, np.zeros(3))
    assert [n.frame for n in order] == [4, 1, 2, 3]
    assert order[-1].angle_rad == pytest.approx(np.pi, abs=1e-6) and order[2].distance_ratio == pytest.approx(6.1 / 3)


def test_a_spiral_rises_and_falls_and_looks_at_the_middle():
    centre = np.array([0.2, 0.1, -0.4])
    poses = orbit(centre, 2.0, 24, np.array([0, -1.0, 0]), 0.2, climb_rad=0.3)
    for pose in poses:
        toward = centre - pose[:3, 3]
        assert np.linalg.norm(toward) == pytest.approx(2.0) and toward @ pose[:3, 2] == pytest.approx(2.0)
    heights = [-(p[:3, 3] - centre)[1] / 2.0 for p in poses]
    assert max(heights) == pytest.approx(np.sin(0.5)) and min(heights) == pytest.approx(np.sin(-0.1))


def test_a_sway_stays_among_the_cameras_that_saw_the_scene():
    rng, centre, up = np.random.default_rng(0), np.array([0.2, 0.1, -0.4]), np.array([0, -1.0, 0])
    half = rng.uniform(-1, 1, (20, 3)) * [0.6, 0.3, 0.1]
    seen = np.array([0.2, 0.1, 3.0]) + np.concatenate([half, -half])
    for climb in (False, True):
        poses = sway(seen, centre, 24, up, climb)
        eyes = np.array([p[:3, 3] for p in poses])
        assert (eyes >= seen.min(0)).all() and (eyes <= seen.max(0)).all()
        assert (np.ptp(eyes, 0)[:2] > 0.5 * np.ptp(seen, 0)[:2]).all() and (np.ptp(eyes[:, 2]) > 0.05) == climb
        for pose in poses:
            toward = centre - pose[:3, 3]
            assert toward @ pose[:3, 2] == pytest.approx(np.linalg.norm(toward)) and pose[:3, 1] @ up < -0.9


def test_filling_and_psnr():
    picture = np.zeros((20, 20, 3), np.float32)
    there = np.zeros((20, 20), bool)
    picture[5:10, 5:10], there[5:10, 5:10] = 100, True
    assert (filled(picture, there) == 100).all()
    assert psnr_inside(np.full((20, 20, 3), 110, np.uint8), picture, there) == pytest.approx(20 * np.log10(25.5))


def test_a_video_that_plays(truth, tmp_path):
    av = pytest.importorskip("av", reason="PyAV (extra video) is not installed: video test not run")
    config = NovelViewsConfig(path="turntable", frames=6, width=200, score_every=0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        report = _run(truth, tmp_path / name, config)
    video = tmp_path / "a/novel_views/turntable.mp4"
    with av.open(str(video)) as opened:
        pictures = [f.to_ndarray(format="rgb24") for f in opened.decode(video=0)]
    assert len(pictures) == 6 == report.metrics["video_frames"] and pictures[0].shape == (150, 200, 3)
    assert all(np.abs(a.astype(int) - b).mean() > 1 for a, b in itertools.pairwise(pictures))
    assert video.read_bytes() == (tmp_path / "b/novel_views/turntable.mp4").read_bytes()
    cameras = json.loads((tmp_path / "a/novel_views/cameras.json").read_text())
    assert len(cameras) == 6 and cameras[0]["nearest"] in range(16)


def test_a_video_without_its_library_is_refused_before_work(truth):
    if not KITS["pyav"].problem():
        pytest.skip("PyAV is installed: refusal not run")
    with pytest.raises(MachineError, match=r"novel_views.path=spiral needs pyav"):
        STAGE.check(inputs_of(STAGE, truth), NovelViewsConfig(path="spiral"))
