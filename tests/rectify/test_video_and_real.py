"""Whole videos through the stage, and the real captures beside the checkout."""

import json
import shutil

import cv2
import numpy as np
import pytest

from stages.rectify.matches import match_pair
from tests.rectify.test_stage import _row_error


def _video(path, pictures):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, pictures[0].shape[1::-1])
    for p in pictures:
        writer.write(p)
    writer.release()


def _slow_motion(capture, side):
    """Each picture three times, as a video of a slow motion has it."""
    return [cv2.imread(str(capture / side / f"{side}{k // 3:06d}.jpg")) for k in range(24)]


@pytest.mark.parametrize("joined", [False, True])
def test_video_gives_one_frame_per_step(capture, rectify, joined):
    sides = [_slow_motion(capture, s) for s in ("left", "right")]
    for s in ("left", "right"):
        shutil.rmtree(capture / s)
    if joined:
        _video(capture / "stereo.mp4", [np.hstack(p) for p in zip(*sides, strict=True)])
    else:
        for name, pictures in zip(("left", "right"), sides, strict=True):
            _video(capture / f"{name}.mp4", pictures)
    made = rectify(capture)
    used = [k for k, r in made.rows.items() if r["status"] == "ok"]
    assert len(made.rows) == 24 and 0 in used and {k // 3 for k in used} == set(range(8)) and len(used) <= 9
    assert (
        made.rows[used[1]]["left"] == f"left/{used[1]:06d}.png"
        and (made.out / "pairs" / made.rows[used[1]]["left"]).exists()
    )
    assert cv2.imread(str(made.out / "pairs" / made.rows[used[1]]["right"])).shape == (300, 400, 3)


@pytest.mark.shared
def test_row_offset_of_the_real_phantom_capture(shared_dir, rectify, tmp_path):
    source, few = shared_dir / "captures/liver_phantom_rotation", tmp_path / "few"
    for side in ("left", "right"):
        (few / side).mkdir(parents=True)
        for k in (0, 8, 15, 22, 30):
            shutil.copyfile(source / side / f"{side}{k:06d}.jpg", few / side / f"{side}{k:06d}.jpg")
    for name in ("calibration.json", "prompt.json"):
        shutil.copyfile(source / name, few / name)
    made = rectify(few)
    m = made.report.metrics
    assert m["row_offset_before_px"] == pytest.approx(-0.78, abs=0.06) and m["row_spread_before_px"] > 0.3
    assert abs(m["row_offset_after_px"]) < 0.03 and m["row_spread_after_px"] < 0.25
    e = _row_error(made.out, range(5))
    assert abs(np.median(e)) < 0.05
    box = json.loads((made.out / "prompt.json").read_text())["box_xyxy"]
    assert 780 < box[2] - box[0] < 860 and 780 < box[3] - box[1] < 860


def _pfm(path):
    _, size, _, data = path.read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(data, "<f4", width * height).reshape(height, width)[::-1]


@pytest.mark.shared
def test_middlebury_scene(shared_dir, rectify, tmp_path):
    """True disparity plus doffs is what the written pair must show; the scene's own rows miss by 0.2 to 0.4 px (its dyavg, dymax)."""
    scene, source = tmp_path / "scene", shared_dir / "stereo/motorcycle"
    for side, file in (("left", "im0.png"), ("right", "im1.png")):
        (scene / side).mkdir(parents=True)
        shutil.copyfile(source / file, scene / side / "0.png")
    shutil.copyfile(source / "calib.txt", scene / "calib.txt")
    made = rectify(scene)
    assert made.report.metrics["row_offset_before_px"] == pytest.approx(-0.3, abs=0.1)
    true = _pfm(source / "disp0GT.pfm") + 32.778
    uv = match_pair(*(cv2.imread(str(made.out / "pairs" / made.rows[0][s])) for s in ("left", "right")))
    uv = uv[np.abs(uv[:, 3] - uv[:, 1]) < 1]
    there = true[np.rint(uv[:, 1]).astype(int), np.rint(uv[:, 0]).astype(int)]
    error = (uv[:, 0] - uv[:, 2] - there)[np.isfinite(there)]
    assert abs(np.median(error)) < 0.12
