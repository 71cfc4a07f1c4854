"""`twin evaluate` on captures whose calibration is not calibration.json: a perfect twin scores perfectly whatever the format."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.metrics import evaluate
from tests.rectify.raw_capture import make_raw

pytestmark = pytest.mark.slow


def middlebury(folder, rig):
    k = f"[{rig.fx} 0 {rig.cx}; 0 {rig.fy} {rig.cy}; 0 0 1]"
    lines = f"cam0={k}\ncam1={k}\ndoffs=0\nbaseline={1e3 * rig.baseline_m}\nwidth={rig.width}\nheight={rig.height}\n"
    (folder / "calib.txt").write_text(lines)


def nvidia(folder, rig):
    k = [float(x) for x in rig.K.ravel()]
    (folder / "calibration.yaml").write_text(
        f"camera_config:\n  intrinsic: {k}\nfoundation_stereo:\n  baseline: {rig.baseline_m}\n"
    )


def opencv_pair(folder, rig):
    none = np.zeros((1, 5))
    for name, values in (
        ("intrinsics.yml", {"M1": rig.K, "D1": none, "M2": rig.K, "D2": none}),
        ("extrinsics.yml", {"R": np.eye(3), "T": np.array([[-rig.baseline_m], [0], [0]])}),
    ):
        storage = cv2.FileStorage(str(folder / name), cv2.FILE_STORAGE_WRITE)
        for key, value in values.items():
            storage.write(key, value)
        storage.release()


def perfect_twin(capture, folder, made):
    """The truth as a twin, with the rig and the record that `rectify` left."""
    shutil.copytree(capture / "gt", folder)
    shutil.copyfile(made.out / "rig.json", folder / "rig.json")
    (folder / "run.json").write_text(json.dumps({"stages": {"rectify": {"method": made.report.method}}}))
    return folder


@pytest.mark.parametrize("write", [middlebury, nvidia, opencv_pair])
def test_perfect_twin_of_any_rectified_capture(capture, synthetic_capture, rectify, tmp_path, write):
    rig = Rig.load(capture / "calibration.json")
    (capture / "calibration.json").unlink()
    write(capture, rig)
    made = rectify(capture)
    shutil.copytree(synthetic_capture / "gt", capture / "gt")
    scores = evaluate(capture, perfect_twin(capture, tmp_path / "twin", made))
    assert scores["surface_pose_aligned"]["chamfer_mm"] < 0.02 and scores["mask"]["mask_J_min"] == 100
    assert scores["seen_share_of_surface"] == evaluate(synthetic_capture, tmp_path / "twin")["seen_share_of_surface"]


def test_truth_of_a_raw_capture_needs_the_rig_it_was_made_with(synthetic_capture, rectify, tmp_path):
    raw, _ = make_raw(synthetic_capture, tmp_path / "raw")
    made = rectify(raw)
    shutil.copytree(synthetic_capture / "gt", raw / "gt")
    twin = perfect_twin(raw, tmp_path / "twin", made)
    with pytest.raises(CaptureError, match=r"not rectified \(rectify: both views resampled\)") as caught:
        evaluate(raw, twin)
    assert "gt/" in caught.value.advice
    shutil.copyfile(synthetic_capture / "calibration.json", raw / "gt/rig.json")
    assert evaluate(raw, twin)["surface_pose_aligned"]["chamfer_mm"] < 0.02
