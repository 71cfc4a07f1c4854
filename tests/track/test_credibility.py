"""A motion that many points and most surfaces bear out is still denied by the object, or by the background, when it is theirs alone."""

from __future__ import annotations

import numpy as np

from stages.track.links.credibility import NEIGHBOUR_AGREE, NEIGHBOUR_VIOLATION, Known, LinkOptions, credible
from stages.track.links.pair_matching import MutualNearest
from stages.track.links.view_graph import Edge, PairOptions
from tests.track.ball_scene import RIG, moved, points, view

FRAMES = range(5)


def known(object_only: bool) -> Known:
    pair = PairOptions(MutualNearest(0.85), 3.0, 12, 0)
    link = LinkOptions((1, 2, 3), 0.14, 4, 0.8, 400.0, 20)
    return Known(
        RIG, {k: points(k) for k in FRAMES}, {k: view(k) for k in FRAMES}, object_only, pair, link, 1, lambda *_: None
    )


def believes(scope: Known, a: int, b: int, b_from_a: np.ndarray, inliers: int, proposed: int) -> bool:
    edge = Edge(a, b, b_from_a, np.zeros((inliers, 2), np.int64), proposed=proposed)
    return credible(scope, edge, NEIGHBOUR_AGREE, NEIGHBOUR_VIOLATION)


def test_a_still_scene_may_not_move_its_object():
    """As by a cloth that repeats: the wall agrees to the pixel and is most of the picture, yet the ball is 80 mm from its place."""
    scene = known(object_only=False)
    assert not believes(scene, 0, 4, np.eye(4), 60, 130)
    assert believes(scene, 2, 2, np.eye(4), 60, 130)


def test_few_points_that_move_as_the_background_does_are_the_backgrounds():
    """A mask that holds some of the wall: its points stay, though the ball turned."""
    held = known(object_only=True)
    assert not believes(held, 2, 3, np.eye(4), 14, 16)
    assert believes(held, 2, 3, moved(2, 3), 14, 16)
