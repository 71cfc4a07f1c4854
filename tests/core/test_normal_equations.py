"""The kernels of core/dense say what the same in plain numpy says."""

from __future__ import annotations

import gc

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from stages.core.dense.alignment import GATES, align_surfaces, blurred, target_of
from stages.core.dense.kept import Kept
from stages.core.dense.normal_equations import COLUMNS, GRAY_SIGMA, Points, System, linearise
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import exp_se3, inverse, transform
from tests.track.test_verification import object_from_left, view

BLUR = 1.0
STEP_DEG = 10.0


def plain_system(a: DenseView, b: DenseView, motion: np.ndarray, gate: float) -> System | None:
    """What `linearise` is meant to give, of all of a's surface, step by step."""
    pixels, xyz = a.surface(True)
    gray_a, gray_b = (cv2.GaussianBlur(v.gray.astype(np.float32), (0, 0), BLUR).astype(np.float64) for v in (a, b))
    own, (disparity, slope_x, slope_y, sigma) = (
        gray_a[pixels[:, 1], pixels[:, 0]],
        np.moveaxis(target_of(b, True).seen, 2, 0),
    )
    x, rig = transform(motion, xyz), b.rig
    uv = rig.project(x)
    inside = (uv > 1).all(1) & (uv < (rig.width - 2, rig.height - 2)).all(1)
    i, j = np.rint(np.where(inside[:, None], uv, 1)).astype(int).T
    predicted = b.predicted_disparity(x)
    error = predicted - (disparity[j, i] + slope_x[j, i] * (uv[:, 0] - i) + slope_y[j, i] * (uv[:, 1] - j))
    with np.errstate(invalid="ignore"):
        pair = inside & (np.abs(error) < gate * predicted)
    if pair.sum() < 100:
        return None
    x, uv, at, own, zero = x[pair], uv[pair], (j[pair], i[pair]), own[pair], np.zeros(pair.sum())

    def gray(right: float, down: float) -> np.ndarray:
        return map_coordinates(gray_b, [uv[:, 1] + down, uv[:, 0] + right], order=1)

    there, z = gray(0, 0), x[:, 2]
    gain = np.clip(np.polyfit(own, there, 1)[0], 0.5, 2)
    shift = np.median(there - gain * own)
    du = np.stack([rig.fx / z, zero, -rig.fx * x[:, 0] / z**2], 1)
    dv = np.stack([zero, rig.fy / z, -rig.fy * x[:, 1] / z**2], 1)
    dd = np.stack([zero, zero, -predicted[pair] / z], 1)
    of_disparity = dd - slope_x[at][:, None] * du - slope_y[at][:, None] * dv
    of_gray = (gray(1, 0) - gray(-1, 0))[:, None] / 2 * du + (gray(0, 1) - gray(0, -1))[:, None] / 2 * dv
    rows, errors = np.concatenate([of_disparity, of_gray]), np.concatenate([error[pair], there - gain * own - shift])
    sigmas = np.concatenate([sigma[at].astype(np.float64), np.full(len(z), GRAY_SIGMA)])
    weight = 1 / (sigmas**2 * (1 + (errors / (2 * sigmas)) ** 2))
    centre = x.mean(0)
    jacobian = np.concatenate([np.cross(np.concatenate([x, x]) - centre, rows), rows], 1)
    return System(
        (jacobian * weight[:, None]).T @ jacobian,
        jacobian.T @ (weight * errors),
        centre,
        float(pair.mean()),
        float(np.corrcoef(own, there)[0, 1]),
    )


def kernel_system(a: DenseView, b: DenseView, motion: np.ndarray, gate: float) -> System | None:
    pixels, xyz = a.surface(True)
    own = blurred(a, BLUR)[pixels[:, 1], pixels[:, 0]]
    points = Points(xyz.copy(), own, np.empty((len(xyz), COLUMNS)))
    return linearise(target_of(b, True), blurred(b, BLUR), points, motion, gate)


@pytest.fixture(scope="module")
def pair() -> tuple[DenseView, DenseView, np.ndarray]:
    """Two views of a printed ball, and the true motion between them. One has a hole in its depth and unknown sigmas."""
    a, b = view(0.0), view(STEP_DEG)
    b.disparity[40:60, 50:90] = np.nan
    b.sigma[60:70, 50:90] = np.nan
    return a, b, inverse(object_from_left(STEP_DEG)) @ object_from_left(0.0)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    "moved",
    [np.zeros(6), [0.05, -0.1, 0.02, 0.004, 0.002, -0.01], [0, 0, 0.3, 0.05, 0, 0]],
    ids=["true", "off", "half out"],
)
def test_the_normal_equations_are_those_of_plain_numpy(pair, moved, gate):
    a, b, motion = pair
    motion = exp_se3(moved) @ motion
    plain, found = plain_system(a, b, motion, gate), kernel_system(a, b, motion, gate)
    assert plain is not None and found is not None
    for name in ("normal", "gradient", "centre", "paired", "correlation"):
        want = getattr(plain, name)
        np.testing.assert_allclose(getattr(found, name), want, rtol=1e-9, atol=1e-8 * np.abs(want).max(), err_msg=name)


@pytest.mark.parametrize(
    "moved", [[0, 0, 0, 0, 0, -2.0], [0, 0, 0, 3.0, 0, 0], [0, 0, 0, 0, 0, 5.0]], ids=["behind", "beside", "far"]
)
def test_surfaces_that_do_not_meet_have_no_equations(pair, moved):
    a, b, motion = pair
    assert kernel_system(a, b, exp_se3(moved) @ motion, GATES[-1]) is None


def test_points_land_where_plain_numpy_puts_them(pair):
    _, b, _ = pair
    x = np.random.default_rng(0).uniform((-0.2, -0.2, -0.05), (0.2, 0.2, 0.6), (20_000, 3))
    landed, uv = b.land(x), b.rig.project(x)
    seen = np.flatnonzero(((uv > -0.5) & (uv < (b.rig.width - 0.5, b.rig.height - 0.5))).all(1))
    u, v = np.rint(uv[seen]).astype(int).T
    predicted, there, sigma = (
        b.predicted_disparity(x[seen]),
        b.disparity[v, u].astype(float),
        b.sigma[v, u].astype(float),
    )
    off, tolerance = predicted - there, np.maximum(4 * sigma, 0.03 * predicted)
    np.testing.assert_array_equal(landed.seen, seen)
    np.testing.assert_array_equal(landed.at, (v, u))
    for name, want in (
        ("on", np.abs(off) <= tolerance),
        ("in_front", off > tolerance),
        ("hidden", off < -tolerance),
        ("known", np.isfinite(there)),
    ):
        assert want.any() and not want.all(), name
        np.testing.assert_array_equal(getattr(landed, name), want, name)


def test_what_is_kept_stays_below_its_bound_and_is_never_anothers():
    """Views come and go, and the system gives their numbers to new ones."""
    kept, made = Kept(most_bytes=10_000), []

    def ask(v: DenseView) -> np.ndarray:
        return kept.of(v, "twice", lambda: (made.append(1), (2 * v.gray[:10, :100],))[1])[0]

    views = [view(float(k)) for k in range(4)]
    for v in (views[0], views[0], views[1], views[0]):
        np.testing.assert_array_equal(ask(v), 2 * v.gray[:10, :100])
    assert len(made) == 2
    for k in range(40):
        v = view(float(k))
        np.testing.assert_array_equal(ask(v), 2 * v.gray[:10, :100])
        del v
        gc.collect()
    assert kept.bytes <= 10_000


def test_aligning_twice_gives_the_same(pair):
    """What is kept from the first time is not written to."""
    a, b, motion = pair
    start = exp_se3([0.02, 0.05, 0, 0.002, 0, 0]) @ motion
    first, second = align_surfaces(a, b, start, True), align_surfaces(a, b, start, True)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.b_from_a, second.b_from_a)
