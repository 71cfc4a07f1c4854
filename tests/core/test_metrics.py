"""The scores must say what is wrong with a twin, by how much, and nothing when nothing is wrong."""

import shutil

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.errors import CaptureError
from stages.core.frames import FramePose, read_poses, write_poses
from stages.core.geometry.rigid import exp_se3
from stages.core.images import read_disparity, read_mask, write_disparity, write_mask
from stages.core.metrics import boundary_agreement, evaluate


@pytest.fixture
def twin(synthetic_capture, tmp_path):
    """A perfect twin in an object frame of its own; returns (folder, function that writes it with a change)."""
    import trimesh

    twin_from_true = exp_se3(np.array([0.3, -0.2, 0.9, 0.1, 0.2, -0.4]))
    true = trimesh.load(synthetic_capture / "gt/mesh.ply", process=False)

    def write(scale: float = 1.0, push_m: float = 0.0, drop: tuple[int, ...] = ()):
        mesh = true.copy()
        mesh.vertices = mesh.vertices * scale + mesh.vertex_normals * push_m
        mesh.apply_transform(twin_from_true)
        mesh.export(tmp_path / "mesh.ply")
        poses = read_poses(synthetic_capture / "gt/poses.json")
        write_poses(
            tmp_path / "poses.json",
            [FramePose(p.frame, None if p.frame in drop else twin_from_true @ p.object_from_left, "ok") for p in poses],
        )
        for kind in ("masks", "disparity"):
            shutil.copytree(synthetic_capture / "gt" / kind, tmp_path / kind, dirs_exist_ok=True)
        return evaluate(synthetic_capture, tmp_path)

    return write


def test_perfect_twin_scores_perfectly(twin):
    s = twin()
    assert s["surface_pose_aligned"]["chamfer_mm"] < 0.02
    assert s["pose"]["add_max_mm"] < 1e-3 and s["mask"]["mask_J_min"] == 100 and s["depth"]["disparity_mae_px"] == 0


def test_inflated_twin_is_off_by_what_it_was_inflated(twin):
    s = twin(push_m=0.0005)
    assert s["surface_pose_aligned"]["accuracy_median_mm"] == pytest.approx(0.5, abs=0.03)
    assert s["surface_pose_aligned"]["completeness_median_mm"] == pytest.approx(0.5, abs=0.03)


def test_scale_is_never_fitted(twin):
    assert twin(scale=1.05)["surface_icp"]["chamfer_mm"] > 0.8


def test_lost_frames_count_as_failures(twin):
    s = twin(drop=(3, 4))
    assert s["pose"]["frames_posed"] == 14
    assert s["pose"]["add_auc_5mm"] == pytest.approx(100 * 14 / 16, abs=0.1)


def test_maps_of_smaller_pictures_are_enlarged(twin, synthetic_capture, tmp_path):
    twin()
    rig = (
        Rig.load(synthetic_capture / "gt/rig.json")
        if (synthetic_capture / "gt/rig.json").exists()
        else Rig.load(synthetic_capture / "calibration.json")
    )
    half = rig.scaled(0.5)
    half.save(tmp_path / "rig.json")
    size = (half.width, half.height)
    for kind, read, write, unit in (
        ("masks", read_mask, write_mask, 1.0),
        ("disparity", read_disparity, write_disparity, 0.5),
    ):
        for path in (tmp_path / kind).glob("*.png"):
            found = read(path)
            small = cv2.resize(found.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
            write(path, small > 0.5 if found.dtype == bool else unit * small)
    s = evaluate(synthetic_capture, tmp_path)
    assert (
        95 < s["mask"]["mask_J_min"] < 100
        and s["depth"]["disparity_median_px"] < 0.1
        and s["depth"]["density_percent"] > 95
    )


def test_shifted_outline_loses_boundary_agreement():
    a, b = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    a[50:150, 50:150], b[50:150, 60:160] = True, True
    assert boundary_agreement(a, a) == pytest.approx(1)
    assert boundary_agreement(a, b) < 0.7


def test_no_truth_is_a_clear_error(tmp_path):
    with pytest.raises(CaptureError, match="no ground truth"):
        evaluate(tmp_path, tmp_path)
