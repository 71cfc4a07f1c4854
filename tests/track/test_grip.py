"""A hand that holds the object fast tells its motion too; one that slips, a wall and a table do not."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.geometry.rigid import exp_se3
from stages.track.links.grip import with_grip
from stages.track.links.pair_matching import MutualNearest
from stages.track.links.view_graph import PairOptions, compare
from stages.track.points.frame_points import FramePoints
from tests.track.ball_scene import RIG

FRAMES, FAR, NONE = 6, 1e6, 3
"""NONE: frame in which nothing of the object can be matched"""
MIDDLE = np.array([0.0, 0.0, 0.45])


def _turned(frame: int, step_deg: float) -> np.ndarray:
    """left_from_first of a thing that turns about the upright axis through MIDDLE and drifts to the right."""
    pose = exp_se3(np.array([0.0, np.radians(step_deg) * frame, 0.0, 0.0, 0.0, 0.0]))
    pose[:3, 3] = MIDDLE - pose[:3, :3] @ MIDDLE + [0.012 * frame, 0, 0]
    return pose


def _scene(hand_step_deg: float, own: int = 40, hand: int = 40) -> dict[int, FramePoints]:
    """An object that turns by 8 degrees a frame, a hand beside it by `hand_step_deg`, and a wall close behind, within the hand's reach."""
    rng = np.random.default_rng(0)
    spots = [rng.uniform(-0.04, 0.04, (n, 3)) + MIDDLE + [0, dy, 0] for n, dy in ((own, 0.0), (hand, 0.075))]
    wall = np.column_stack([rng.uniform(-0.2, 0.2, (60, 2)), np.full(60, MIDDLE[2] + 0.06)])
    descriptor = rng.integers(0, 120, (own + hand + 60, 128)).astype(np.uint8)
    out = {}
    for f in range(FRAMES):
        placed = [
            s @ pose[:3, :3].T + pose[:3, 3]
            for s, pose in zip(spots, (_turned(f, 8.0), _turned(f, hand_step_deg)), strict=True)
        ]
        x = np.concatenate([*placed, wall])
        uv, n = RIG.project(x), np.zeros(len(x))
        seen = descriptor.copy()
        if f == NONE:
            seen[:own] = rng.integers(0, 120, (own, 128))
        inside = np.arange(len(x)) < own
        right = uv[:, 0] - RIG.fx * RIG.baseline_m / x[:, 2]
        out[f] = FramePoints(f, uv, right, np.zeros((len(x), 2)), n + 0.1, n + 2, seen, inside, False)
    return out


@pytest.fixture
def options() -> PairOptions:
    return PairOptions(MutualNearest(0.9), 0.7, 12, 0)


def test_a_hand_that_holds_fast_tells_the_motion_where_the_object_does_not(options):
    points = _scene(8.0)
    grip = with_grip(RIG, points, options, FAR, 1)
    assert grip.holds and grip.together >= 3 and grip.apart == 0
    held = grip.points[0]
    assert held.gripped is not None and held.gripped[40:80].mean() > 0.9 and not held.gripped[80:].any()
    assert held.own.sum() == 40  # the hand is none of the object
    assert compare(RIG, points[2], points[NONE], True, options) is None
    edge = compare(RIG, grip.points[2], grip.points[NONE], True, options)
    expected = _turned(NONE, 8.0) @ np.linalg.inv(_turned(2, 8.0))
    assert edge is not None and np.abs(edge.b_from_a - expected).max() < 1e-3


@pytest.mark.parametrize("hand_step_deg", [0.0, -6.0, 14.0])
def test_a_hand_in_which_the_object_turns_tells_nothing(options, hand_step_deg):
    points = _scene(hand_step_deg)
    grip = with_grip(RIG, points, options, FAR, 1)
    assert not grip.holds and grip.apart > 0
    assert grip.points is points and all(p.gripped is None for p in grip.points.values())


def test_without_anything_beside_it_nothing_changes(options):
    points = _scene(8.0, hand=0)
    grip = with_grip(RIG, points, options, FAR, 1)
    assert not grip.holds and grip.points is points
