"""The solver on tracks with known truth: accuracy, weights, outliers, certainty, calibration check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.core.adjust.adjustment import AdjustOptions, _finished, adjust, focal_check, pose_sigmas
from stages.core.adjust.rig_problem import Observations, Solution, sigma_classes
from stages.core.geometry.rigid import inverse
from stages.core.geometry.stereo_points import backproject_stereo, project_stereo, stereo_residuals, triangulate
from tests.bundle.made_tracks import RIG, disturbed, make, pose_errors

OPTIONS = AdjustOptions(rounds=3, max_iterations=40, robust_sigmas=2.0, outlier_sigmas=5.0, outlier_floor_px=0.7)


def observations(made, sigma_px=None) -> Observations:
    return Observations(
        made.point, made.frame, made.uvr, made.sigma_px if sigma_px is None else np.full(len(made.point), sigma_px)
    )


def solved(made, obs=None):
    return adjust(RIG, disturbed(made.poses), len(made.xyz), obs or observations(made), OPTIONS, lambda *a: None)


def test_projection_and_backprojection_are_inverse():
    x = np.array([[0.1, -0.05, 0.5], [0.0, 0.0, 1.0]])
    assert np.allclose(backproject_stereo(RIG, project_stereo(RIG, x)), x)
    assert np.isnan(project_stereo(RIG, np.array([[0, 0, -1.0]]))).all()


def test_triangulation_without_noise_is_exact():
    made = make(noise_px=0.0, outliers=0.0)
    xyz = triangulate(RIG, made.poses, made.frame, made.point, made.uvr, made.sigma_px, len(made.xyz) + 1)
    assert np.abs(xyz[:-1] - made.xyz).max() < 1e-9 and np.isnan(xyz[-1]).all()


def test_triangulation_resists_one_bad_view():
    made = make(noise_px=0.0, outliers=0.0)
    uvr, long = made.uvr.copy(), np.bincount(made.point) >= 6
    first = np.r_[True, np.diff(made.point) > 0] & long[made.point]
    uvr[first, :2] += 6.0
    xyz = triangulate(
        RIG, made.poses, made.frame, made.point, uvr, np.full(len(uvr), 0.3), len(made.xyz), iterations=15
    )
    assert np.median(np.linalg.norm(xyz - made.xyz, axis=1)[long]) < 2e-4


def test_poses_and_points_reach_the_truth():
    made = make()
    found = solved(made)
    turn, shift = pose_errors(found.left_from_object, made.poses)
    assert np.median(turn) < 0.015 and turn.max() < 0.03
    assert np.median(shift) < 0.05 and shift.max() < 0.1


def test_scale_comes_from_the_rig():
    """Start from a world 2 % too large: the measured right eye brings it back."""
    made = make()
    start = made.poses.copy()
    start[:, :3, 3] *= 1.02
    found = adjust(RIG, start, len(made.xyz), observations(made), OPTIONS, lambda *a: None)
    centres = [-(p[:, :3, :3].transpose(0, 2, 1) @ p[:, :3, 3:])[..., 0] for p in (found.left_from_object, made.poses)]
    size = [np.linalg.norm(c - c.mean(0), axis=1).mean() for c in centres]
    assert size[0] / size[1] == pytest.approx(1, abs=2e-4)


def test_outliers_are_left_out_and_good_ones_kept():
    made = make(outliers=0.1)
    found = solved(made)
    big = made.outlier & (
        np.hypot(*(stereo_residuals(RIG, made.poses, made.frame, made.xyz[made.point], made.uvr)[:, :2].T)) > 6
    )
    assert found.use_left[big].mean() < 0.03
    assert found.use_left[~made.outlier].mean() > 0.95


def test_weights_pay():
    """Believing all observations alike is worse than using what each is worth."""
    made = make(outliers=0.0, seed=3)
    weighted, alike = solved(made), solved(made, observations(made, 0.2))
    a, b = (np.median(pose_errors(f.left_from_object, made.poses)[1]) for f in (weighted, alike))
    assert a < 0.9 * b


def test_claimed_certainty_is_honest():
    made = make(outliers=0.0)
    found = solved(made)
    turn, shift = pose_sigmas(RIG, found, observations(made), np.zeros(3))
    error_turn, error_shift = pose_errors(found.left_from_object, made.poses)
    assert 0.3 < np.median(np.degrees(turn)) / np.median(error_turn[1:]) < 2.0
    assert 0.3 < np.median(1000 * shift) / np.median(error_shift[1:]) < 2.0


def test_same_input_same_output():
    a, b = solved(make()), solved(make())
    assert np.array_equal(a.left_from_object, b.left_from_object) and np.array_equal(a.xyz, b.xyz, equal_nan=True)


def test_focal_check_finds_a_wrong_focal_length_and_leaves_a_right_one_alone():
    made = make(outliers=0.0)
    right = focal_check(RIG, solved(made), observations(made), 2.0, 10_000)
    assert abs(right[0]) < 0.002 and right[1] < 0.02
    off = replace(RIG, fx=RIG.fx * 1.03, fy=RIG.fy * 1.03)
    loose = replace(OPTIONS, outlier_floor_px=8.0)
    found = adjust(off, made.poses, len(made.xyz), observations(made), loose, lambda *a: None)
    change, cost = focal_check(off, found, observations(made), 2.0, 10_000)
    assert -0.045 < change < -0.015 and cost > 0.05


def test_too_little_to_solve():
    made = make()
    none = observations(made)
    none = Observations(none.point[:4], none.frame[:4], none.uvr[:4] + 500, none.sigma_px[:4])
    assert adjust(RIG, made.poses, len(made.xyz), none, OPTIONS, lambda *a: None) is None


def test_sigma_classes_are_close_to_the_values():
    values = np.array([0.05, 0.1, 0.11, 0.5, 2.0])
    index, sigma = sigma_classes(values)
    assert np.abs(np.log(sigma[index] / values)).max() <= np.log(2) / 4 + 1e-9


def test_gauge_is_the_first_frame():
    made = make()
    start = disturbed(made.poses)
    assert np.allclose(solved(made).left_from_object[0], start[0])
    assert np.allclose(inverse(start[0]) @ start[0], np.eye(4))


def test_a_point_that_a_solution_put_behind_a_camera_counts_no_more():
    made = make(noise_px=0.0, outliers=0.0)
    xyz, every = made.xyz.copy(), np.ones(len(made.point), bool)
    moved = int(made.point[0])
    middle = inverse(made.poses[0])[:3, 3]
    xyz[moved] = 2 * middle - xyz[moved]  # beyond the first camera, seen from the object
    found = _finished(RIG, Solution(made.poses, xyz, 0.0, 1), observations(made), (every, every), 1)
    behind = ~np.isfinite(found.residual[:, 0])
    assert behind.any() and set(made.point[behind]) == {moved}
    assert not found.use_left[behind].any() and not found.use_right[behind].any() and found.use_left[~behind].all()
    assert (
        np.isfinite(found.residual[found.use_left][:, :2]).all() and np.isfinite(found.residual[found.use_right]).all()
    )
