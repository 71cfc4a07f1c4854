"""Tracking with the published weights that lie beside the checkout."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from stages.core.frames import FramePose, posed, read_poses, write_poses
from stages.core.weight_files import add
from tests import truth_inputs
from tests.track.test_stage import errors, run


@pytest.fixture(scope="module")
def five_frames(shared_dir, tmp_path_factory):
    """Inputs from the truth of frames 4 to 8 of bottle_orbit."""
    source, capture = shared_dir / "captures/bottle_orbit", tmp_path_factory.mktemp("bottle")
    for name in ("calibration.json", "prompt.json", "gt/mesh.ply"):
        (capture / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, capture / name)
    names = {
        "left": "left{:06d}.jpg",
        "right": "right{:06d}.jpg",
        "gt/masks": "{:06d}.png",
        "gt/disparity": "{:06d}.png",
    }
    for folder, name in names.items():
        (capture / folder).mkdir(parents=True)
        for k in range(5):
            shutil.copyfile(source / folder / name.format(k + 4), capture / folder / name.format(k))
    poses = posed(read_poses(source / "gt/poses.json"))
    write_poses(capture / "gt/poses.json", [FramePose(k, poses[k + 4], "ok") for k in range(5)])
    return truth_inputs.make(capture, tmp_path_factory.mktemp("bottle_inputs"))


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("method", ["aliked", "xfeat:mutual", "xfeat:lightglue"])
def test_published_weights_track_the_bottle(five_frames, shared_dir, weights, tmp_path, method):
    pytest.importorskip("onnxruntime")
    for name in ("aliked-n16.pth", "xfeat_1024_640x360.onnx", "lighterglue_L3.onnx"):
        add(shared_dir / "weights" / name)
    name, _, matcher = method.partition(":")
    report, rows, _ = run(five_frames, tmp_path / "out", method=name, matcher=matcher or "auto")
    assert [r.status for r in rows] == ["ok"] * 5 and report.metrics["pair_inliers_median"] > 60
    assert np.median(errors(rows, five_frames)[0]) < 0.15
