"""Which loops are believed, on graphs of poses without pictures: a ring of views, 15 degrees a frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from stages.core.geometry.rigid import exp_se3, inverse
from stages.track.links import loops as module
from stages.track.links.view_graph import Edge, spanning_poses


def object_from_left(degrees: float) -> np.ndarray:
    """A camera 0.4 m from the origin, looking at it, turned about the vertical."""
    back = np.eye(4)
    back[2, 3] = -0.4
    return exp_se3([0, np.radians(degrees), 0, 0, 0, 0]) @ back


def edge(a: int, b: int, inliers: int, proposed: int, alias_deg: float = 0.0) -> Edge:
    """The true motion between frames of the ring, or one that takes b for a view `alias_deg` farther round."""
    motion = inverse(object_from_left(15 * b + alias_deg)) @ object_from_left(15 * a)
    return Edge(a, b, motion, np.zeros((inliers, 2), np.int64), proposed=proposed)


def believed(frames, chain, loops, joins):
    """The object is seen 0.4 m before the camera in every frame."""
    return module.believed(frames, chain, loops, joins, {f: np.array([0, 0, 0.4]) for f in frames})


def chain(*frames: int) -> list[Edge]:
    return [edge(a, b, 40, 90) for a, b in pairwise(frames)]


FRAMES = [f for f in range(24) if f not in (3, 15)]
PARTS = [*chain(0, 1, 2), *chain(*range(4, 15)), *chain(*range(16, 24))]
ALIASES = [edge(k, k + 12, 60, 180, 180.0) for k in (0, 2, 4, 7, 9, 11)]


def test_a_pattern_that_looks_the_same_from_behind_does_not_join_parts():
    """Six loops, many points each, and all agree with each other; but between frames 2 and 4 the object would have leapt."""
    loops, jumps = believed(FRAMES, PARTS, [*ALIASES, edge(0, 23, 26, 138)], [*ALIASES, edge(0, 23, 26, 138)])
    assert [(e.a, e.b) for e in loops] == [(0, 23)]
    poses, _ = spanning_poses(FRAMES, [*PARTS, *loops])
    assert sorted(poses) == [0, 1, 2, *range(16, 24)]
    assert {j.frames for j in jumps} <= {(0, 1, 2), tuple(range(16, 24))}
    assert all(j.turn_deg > j.limit_deg for j in jumps) and (2, 4) in {(j.before, j.after) for j in jumps}


def test_a_part_is_joined_where_time_allows_it():
    true = edge(2, 5, 30, 60)
    loops, jumps = believed(FRAMES, PARTS, [true], [true])
    assert loops == [true] and not jumps


def test_a_join_that_was_not_borne_out_is_left_out():
    assert believed(FRAMES, PARTS, [edge(2, 5, 15, 60)], []) == ([], [])


def test_an_object_turned_over_between_two_takes_is_joined_by_unmistakable_views():
    """The views of frame 4 on are 180 degrees off for real; most of what is proposed agrees."""
    over = edge(2, 14, 90, 120, 180.0)
    loops, jumps = believed(FRAMES, PARTS, [over], [over])
    assert loops == [over] and not jumps


def test_after_a_long_absence_any_view_may_come():
    frames = [0, 1, 2, *range(12, 24)]
    edges = [*chain(0, 1, 2), *chain(*range(12, 24))]
    away = edge(1, 20, 25, 80)
    kept, _ = believed(list(range(24)), edges, [away], [away])
    assert kept == [away] and len(spanning_poses(frames, [*edges, *kept])[0]) == 15


def test_loops_within_a_part_must_agree_with_the_chain():
    good, bad, aside = edge(4, 9, 20, 60), edge(5, 11, 80, 100, 20.0), edge(6, 12, 80, 100)
    aside.b_from_a[:3, 3] += [0.1, 0, 0]  # by the pattern of a table cloth
    assert believed(FRAMES, PARTS, [good, bad, aside], [good, bad, aside]) == ([good], [])
