"""Poses that points leave open are righted by the frames' surfaces; poses that points know well stay."""

from __future__ import annotations

import numpy as np
import pytest

from stages.bundle.drift import Ties
from stages.bundle.surfaces import on_surfaces
from stages.core.geometry.rigid import exp_se3, inverse, rotation_angle
from tests.track.test_verification import RADIUS_M, object_from_left, view

STEP_DEG, COUNT = 12.0, 7


@pytest.fixture(scope="module")
def ring():
    degrees = [STEP_DEG * k for k in range(COUNT)]
    return [view(d) for d in degrees], np.stack([object_from_left(d) for d in degrees])


def bent(true: np.ndarray, seed: int = 5) -> np.ndarray:
    """The true poses, each turned by about 1.5 degrees and moved by about 1 mm."""
    rng = np.random.default_rng(seed)
    off = [exp_se3(np.r_[rng.normal(0, np.radians(1.0), 3), rng.normal(0, 6e-4, 3)]) for _ in true]
    return np.stack([o @ t for o, t in zip(off, true, strict=True)])


def ties(strength: float) -> Ties:
    """Successive frames tied by points all over a ball: `strength` is one over the square of their error, 1/m2."""
    a = np.arange(COUNT - 1)
    one = strength * np.diag([RADIUS_M**2] * 3 + [1.0] * 3)
    return Ties(a, a + 1, np.repeat(one[None], COUNT - 1, 0), np.zeros(3))


def error_mm(poses: np.ndarray, true: np.ndarray) -> float:
    """Mean over all pairs of frames of how far their motion puts the ball's surface from where it is."""
    off = [
        rotation_angle(inverse(inverse(true[b]) @ true[a]) @ inverse(poses[b]) @ poses[a]) * RADIUS_M
        for a in range(len(true))
        for b in range(a)
    ]
    return 1000 * float(np.mean(off))


def test_what_points_leave_open_is_righted(ring):
    views, true = ring
    start = bent(true)
    refined = on_surfaces(views, start, ties(1.0), 1)
    assert refined is not None
    assert error_mm(start, true) > 0.8
    assert error_mm(refined, true) < 0.4 * error_mm(start, true)


def test_what_points_know_stays(ring):
    """Points that are sure to a hundredth of a millimetre outweigh all surfaces together."""
    views, true = ring
    start = bent(true)
    refined = on_surfaces(views, start, ties(1e10), 1)
    assert refined is not None
    assert error_mm(refined, start) < 0.1


def test_more_threads_give_the_same(ring):
    views, true = ring
    one, two = (on_surfaces(views, bent(true), ties(1.0), workers) for workers in (1, 3))
    np.testing.assert_array_equal(one, two)


def test_surfaces_that_do_not_meet_say_nothing(ring):
    views, true = ring
    far = true.copy()
    for k in range(COUNT):
        far[k, 2, 3] += 0.5 * k
    assert on_surfaces(views, far, ties(1.0), 1) is None
