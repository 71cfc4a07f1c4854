"""The stage: artifacts, object frame, frames without a pose, captures of one frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.base import StageContext
from stages.bundle.object_frame import choose_frame
from stages.bundle.stage import STAGE
from stages.core.errors import StageError
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse
from stages.core.geometry.support_plane import support_plane
from tests.bundle.made_tracks import Made, disturbed, make, pose_errors, write

GAUGE = np.eye(4)
GAUGE[:3, :3] = cv2.Rodrigues(np.radians([20.0, -35.0, 50.0]))[0]
GAUGE[:3, 3] = [0.3, -0.1, 0.2]


def run(inputs, out: Path, **settings):
    out.mkdir(parents=True, exist_ok=True)
    config = STAGE.Config(**settings)
    STAGE.check(inputs, config)
    report = STAGE.run(inputs, config, out, StageContext(threads=1))
    with np.load(out / "points.npz", allow_pickle=False) as p:
        return report, read_poses(out / "poses.json"), dict(p)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    made, folder = make(), tmp_path_factory.mktemp("bundle")
    return made, *run(write(made, folder / "in", disturbed(made.poses), GAUGE), folder / "out")


def test_every_frame_has_a_row_and_the_lost_one_its_reason(result):
    _, report, rows, _ = result
    assert [r.status for r in rows] == ["ok"] * 24 + ["lost"] and rows[-1].reason == "its mask was lost"
    assert report.frames == {"ok": 24, "uncertain": 0, "lost": 1, "unusable": 0}
    assert all(r.inliers > 15 and 0 < r.rms_px < 1 for r in rows[:-1])
    assert any("1 frames have no pose" in w for w in report.warnings)


def test_poses_are_accurate_whatever_the_object_frame(result):
    made, report, rows, _ = result
    found = inverse(np.stack([posed(rows)[k] for k in range(24)]))
    turn, shift = pose_errors(found, made.poses)
    assert np.median(turn) < 0.015 and np.median(shift) < 0.05
    assert report.metrics["drift_closed_deg"] > 0.3 and report.metrics["rms_px"] < 0.5


def test_object_frame_stands_on_its_floor(result):
    made, report, rows, points = result
    assert "plane" in report.metrics["object_frame"]
    true_from_found = inverse(made.poses[0]) @ inverse(posed(rows)[0])
    assert np.degrees(np.arccos(true_from_found[1, 1])) < 0.2, "y is down"
    assert np.linalg.norm(true_from_found[:3, 3]) < 0.006, "the origin is the object's centre"
    low, high = np.percentile(points["xyz"], (3, 97), axis=0)
    assert np.abs(low + high).max() < 1e-3


def test_points_hold_the_object_and_the_rest_apart(result):
    points = result[3]
    assert 200 < len(points["xyz"]) <= 250 and 250 < len(points["scene_xyz"]) <= 350
    assert (
        len(points["observations"]) == len(points["rms_px"]) == len(points["xyz"]) and points["observations"].min() >= 2
    )
    assert points["xyz"].dtype == np.float64 and np.isfinite(points["xyz"]).all()


def test_object_scope_keeps_the_first_cameras_axes(tmp_path):
    made = make()
    report, rows, _ = run(write(made, tmp_path / "in", disturbed(made.poses), GAUGE, scope="object"), tmp_path / "out")
    assert "first frame" in report.metrics["object_frame"]
    assert np.allclose(posed(rows)[0][:3, :3], np.eye(3), atol=1e-9)


def test_a_frame_with_few_points_is_uncertain(tmp_path):
    made = make()
    drop = (made.frame == 7) & (np.cumsum(made.frame == 7) > 8)
    fewer = Made(
        made.poses,
        made.xyz,
        made.inside,
        *(a[~drop] for a in (made.point, made.frame, made.uvr, made.sigma_px, made.outlier)),
    )
    report, rows, _ = run(write(fewer, tmp_path / "in", disturbed(made.poses)), tmp_path / "out")
    assert rows[7].status == "uncertain" and "points" in rows[7].reason and report.frames["uncertain"] == 1


def test_one_frame_passes_through(tmp_path):
    made = make()
    first = made.frame == 0
    index, point = np.unique(made.point[first], return_inverse=True)
    rest = (a[first] for a in (made.frame, made.uvr, made.sigma_px, made.outlier))
    one = Made(made.poses[:1], made.xyz[index], made.inside[index], point, *rest)
    _, rows, points = run(write(one, tmp_path / "in", made.poses[:1]), tmp_path / "out")
    assert rows[0].status == "ok" and len(points["xyz"]) == one.inside.sum()


def test_without_any_pose_it_fails_before_work(tmp_path):
    made = make()
    inputs = write(made, tmp_path / "in", made.poses[:0])
    with pytest.raises(StageError, match="no frame has a pose"):
        STAGE.check(inputs, STAGE.Config())


def test_contradicting_tracks_are_refused(tmp_path):
    made = make(frames=3)
    rest = (made.uvr[:5] + 300 * np.arange(5)[:, None], made.sigma_px[:5], made.outlier[:5])
    nonsense = Made(made.poses, made.xyz, made.inside, made.point[:5], made.frame[:5], *rest)
    with pytest.raises(StageError, match="no solution"):
        run(write(nonsense, tmp_path / "in", made.poses), tmp_path / "out")


def test_a_wall_behind_the_object_is_not_its_support():
    rng = np.random.default_rng(0)
    own = rng.uniform(-0.05, 0.05, (200, 3))
    wall = np.column_stack([rng.uniform(-0.2, 0.2, (300, 2)), np.full(300, 0.12)])
    assert support_plane(own, wall, 0) is None
    through = np.column_stack([rng.uniform(-0.2, 0.2, (300, 2)), np.zeros(300)])
    assert support_plane(own, through, 0) is None
    change, reason = choose_frame(np.concatenate([own, wall]), np.arange(500) < 200, np.eye(4), True, 0)
    assert "first frame" in reason and np.allclose(change[:3, :3], np.eye(3))
