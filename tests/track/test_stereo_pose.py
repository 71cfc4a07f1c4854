"""Motion between two frames from points with known truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.geometry.stereo_points import project_stereo
from stages.track.links.stereo_pose import agreeing, estimate_motion, refine_motion

RIG = Rig(1280, 720, 1100.0, 1095.0, 640.0, 350.0, 0.06)


def scene(n: int, outliers: float, seed: int = 0, noise: float = 0.3):
    """(x_a, uvr_b, truth): points half a metre away, seen after a turn of 15 degrees."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.uniform(-0.1, 0.1, (n, 2)), rng.uniform(0.45, 0.6, n)])
    truth = np.eye(4)
    truth[:3, :3] = cv2.Rodrigues(np.radians([3.0, 14.0, -5.0]))[0]
    truth[:3, 3] = np.array([0, 0, 0.5]) - truth[:3, :3] @ [0, 0, 0.5] + [0.01, -0.004, 0.02]
    uvr = project_stereo(RIG, transform(truth, x)) + rng.normal(0, noise, (n, 3))
    wrong = rng.random(n) < outliers
    uvr[wrong, :2] += rng.uniform(-80, 80, (int(wrong.sum()), 2))
    uvr[::5, 2] = np.nan
    return x, uvr, truth


@pytest.mark.parametrize("outliers", [0.0, 0.4, 0.7])
def test_motion_despite_outliers(outliers):
    x, uvr, truth = scene(300, outliers)
    found = estimate_motion(RIG, x, uvr, 3.0, 12, seed=1)
    assert found is not None
    assert np.degrees(rotation_angle(inverse(truth) @ found.b_from_a)) < 0.05
    assert np.linalg.norm(transform(found.b_from_a, x) - transform(truth, x), axis=1).mean() < 2e-4
    assert found.count > 0.75 * (1 - outliers) * 300 and found.rms_px < 0.45


def test_the_same_seed_gives_the_same_motion():
    x, uvr, _ = scene(200, 0.5)
    a, b = (estimate_motion(RIG, x, uvr, 3.0, 12, seed=3) for _ in range(2))
    assert np.array_equal(a.b_from_a, b.b_from_a)


def test_no_motion_from_noise_or_from_too_few():
    rng = np.random.default_rng(0)
    x, uvr, _ = scene(60, 0.0)
    assert estimate_motion(RIG, x, rng.uniform(0, 700, uvr.shape), 3.0, 12, seed=1) is None
    assert estimate_motion(RIG, x[:8], uvr[:8], 3.0, 12, seed=1) is None


def test_refinement_reaches_the_least_squares_minimum():
    """Without outliers and noise the minimum is the truth, from a start two degrees and a centimetre off."""
    x, uvr, truth = scene(80, 0.0, noise=0.0)
    start = truth.copy()
    start[:3, :3] = cv2.Rodrigues(np.radians([1.2, -1.5, 0.8]))[0] @ truth[:3, :3]
    start[:3, 3] += [0.004, -0.006, 0.01]
    found = refine_motion(RIG, start, x, uvr, 60.0, iterations=40)
    assert np.abs(found.b_from_a - truth).max() < 1e-8


def test_points_on_a_line_leave_the_motion_open():
    x = np.column_stack([np.linspace(-0.1, 0.1, 30), np.zeros(30), np.full(30, 0.5)])
    assert refine_motion(RIG, np.eye(4), x, project_stereo(RIG, x), 3.0) is None


def test_agreement_needs_both_eyes_where_both_saw():
    residual = np.array([[1, 1, 1], [1, 1, 9], [1, 1, np.nan], [9, 0, 0], [np.nan, 0, 0]], float)
    assert agreeing(residual, 3.0).tolist() == [True, False, True, False, False]
