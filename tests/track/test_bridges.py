"""A turn between two frames with few points: two witnesses that agree are believed, one alone is not; points that contradict are heard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.track.links.bridges import FEW, bridges
from stages.track.links.credibility import Known, LinkOptions
from stages.track.links.pair_matching import MutualNearest
from stages.track.links.view_graph import PairOptions
from stages.track.points.frame_points import FramePoints
from tests.track.ball_scene import RADIUS_M, RIG
from tests.track.test_verification import object_from_left, view

TURN_DEG = 16.0
PAIR, LINK = PairOptions(MutualNearest(0.85), 3.0, 12, 0), LinkOptions((1,), 0.14, 4, 0.85, 220.0, 20)


def faint(degrees: float, share: float) -> DenseView:
    """The printed ball with so much of its contrast."""
    v = view(degrees)
    bare = view(degrees, printed=False).gray.astype(np.float32)
    gray = np.where(v.mask, bare + share * (v.gray.astype(np.float32) - bare), v.gray)
    return replace(v, gray=np.clip(gray, 0, 255).astype(np.uint8))


def spots(degrees: float, count: int, shuffled: bool = False) -> FramePoints:
    """So many spots fixed to the ball's front, seen by both eyes; with `shuffled` each looks like another one."""
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-0.5, 0.5, (2, max(count, 1))) * RADIUS_M
    on_ball = np.column_stack([x, y, -np.sqrt(RADIUS_M**2 - x**2 - y**2)])[:count]
    seen = transform(
        inverse(object_from_left(degrees)), transform(object_from_left(TURN_DEG / 2), on_ball + np.array([0, 0, 0.35]))
    )
    descriptor = rng.integers(0, 120, (max(count, 1), 128)).astype(np.uint8)[:count]
    uv, n = RIG.project(seen), np.zeros(count)
    right = uv[:, 0] - RIG.fx * RIG.baseline_m / seen[:, 2]
    descriptor = np.roll(descriptor, count // 2, axis=0) if shuffled else descriptor
    return FramePoints(0, uv, right, np.zeros((count, 2)), n + 0.1, n + 2, descriptor, np.ones(count, bool), False)


def known(share: float, count: int, shuffled: bool = False) -> Known:
    points = {k: replace(spots(TURN_DEG * k, count, shuffled and k == 1), frame=k) for k in (0, 1)}
    views = {k: faint(TURN_DEG * k, share) for k in (0, 1)}
    return Known(RIG, points, views, True, PAIR, LINK, 1, lambda *a: None)


def error_deg(b_from_a: np.ndarray) -> float:
    true = inverse(object_from_left(TURN_DEG)) @ object_from_left(0.0)
    return float(np.degrees(rotation_angle(inverse(true) @ b_from_a)))


def test_a_print_ties_two_frames_without_a_point():
    found = bridges(known(1.0, 0), [0, 1], [])
    assert len(found) == 1 and error_deg(found[0].b_from_a) < 1.5


def test_a_bare_ball_is_not_tied():
    assert bridges(known(0.0, 0), [0, 1], []) == []


@pytest.mark.parametrize("count", [FEW + 2, 10])
def test_a_few_points_and_a_faint_print_tie_together_what_neither_would(count):
    assert count < PAIR.min_inliers, "too few for a motion of their own"
    assert bridges(known(0.12, 0), [0, 1], []) == [], "the faint print alone"
    assert bridges(known(0.0, count), [0, 1], []) == [], "the points alone"
    found = bridges(known(0.12, count), [0, 1], [])
    assert len(found) == 1 and error_deg(found[0].b_from_a) < 2.5


def test_points_that_contradict_are_heard():
    """The print ties them alone; points of which none goes along speak against it."""
    assert bridges(known(1.0, 30, shuffled=True), [0, 1], []) == []


def held(degrees: float, hand_degrees: float) -> tuple[DenseView, DenseView]:
    """(the bare upper half of the ball as the object, the same with its printed lower half that holds it and turns by itself)."""
    bare, hand = view(degrees, printed=False), view(hand_degrees)
    below = np.arange(RIG.height)[:, None] > RIG.cy
    both = replace(bare, gray=np.where(below, hand.gray, bare.gray), mask=bare.mask)
    return replace(both, mask=bare.mask & ~below), both


def gripped(frame: int, degrees: float) -> FramePoints:
    """Spots on the lower half."""
    points = replace(spots(degrees, 12), frame=frame)
    below = points.uv[:, 1] > RIG.cy
    return replace(points.only(below), gripped=np.ones(int(below.sum()), bool))


@pytest.mark.parametrize(("hand_step", "tied"), [(TURN_DEG, True), (0.0, False)])
def test_a_hand_that_holds_it_ties_a_bare_thing(hand_step, tied):
    """Its print and its points say how both turn; points of a hand that says otherwise than its print are heard."""
    pairs = {k: held(TURN_DEG * k, hand_step * k) for k in (0, 1)}
    points = {k: gripped(k, TURN_DEG * k) for k in (0, 1)}
    assert all(3 <= len(p) < PAIR.min_inliers for p in points.values())
    own = {k: v[0] for k, v in pairs.items()}
    alone = Known(RIG, points, own, True, PAIR, LINK, 1, lambda *a: None)
    assert bridges(alone, [0, 1], []) == []
    found = bridges(replace(alone, held={k: v[1] for k, v in pairs.items()}), [0, 1], [])
    assert (len(found) == 1 and error_deg(found[0].b_from_a) < 2.0) if tied else not found
