"""Joining pairwise matches, and choosing among edges."""

from __future__ import annotations

import numpy as np

from stages.core.geometry.near_views import near_pairs
from stages.track.links.view_graph import Edge, choose_keyframes, connected, neighbour_pairs, spanning_poses
from stages.track.points.frame_points import FramePoints
from stages.track.tracks.multiview_tracks import Tracks, build_tracks
from stages.track.tracks.tracking import longest


def points(frame: int, n: int) -> FramePoints:
    zero = np.zeros(n)
    return FramePoints(
        frame,
        np.zeros((n, 2)),
        zero,
        np.zeros((n, 2)),
        zero,
        zero,
        np.zeros((n, 128), np.uint8),
        np.ones(n, bool),
        False,
    )


def members(tracks: Tracks) -> set[frozenset[tuple[int, int]]]:
    rows = list(zip(tracks.point.tolist(), tracks.frame.tolist(), tracks.feature.tolist(), strict=True))
    return {frozenset((f, k) for p, f, k in rows if p == point) for point in set(tracks.point.tolist())}


def test_matches_are_joined_across_frames():
    frames = {0: points(0, 3), 2: points(2, 3), 5: points(5, 3)}
    tracks = build_tracks(frames, [(0, 2, np.array([[0, 1], [2, 2]])), (2, 5, np.array([[1, 0]]))])
    assert members(tracks) == {frozenset({(0, 0), (2, 1), (5, 0)}), frozenset({(0, 2), (2, 2)})}
    assert (np.diff(tracks.point) >= 0).all()


def test_two_points_of_one_frame_never_share_a_track_and_the_first_match_wins():
    frames = {0: points(0, 2), 1: points(1, 2), 2: points(2, 2)}
    tracks = build_tracks(frames, [(0, 1, np.array([[0, 0]])), (1, 2, np.array([[0, 0]])), (0, 2, np.array([[1, 0]]))])
    assert members(tracks) == {frozenset({(0, 0), (1, 0), (2, 0)}), frozenset({(0, 1)})} or members(tracks) == {
        frozenset({(0, 0), (1, 0), (2, 0)})
    }
    for point in range(tracks.count):
        own = tracks.frame[tracks.point == point]
        assert len(set(own.tolist())) == len(own)


def test_dropping_observations_renumbers_and_removes_short_tracks():
    tracks = Tracks(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 2]), np.arange(5))
    left = tracks.only(np.array([True, False, True, True, True]), 2)
    assert left.point.tolist() == [0, 0, 0] and left.feature.tolist() == [2, 3, 4]


def test_the_longest_tracks_stay_within_the_limit():
    tracks = Tracks(np.array([0, 0, 1, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 2, 0, 1]), np.arange(7))
    assert longest(tracks, 5).feature.tolist() == [0, 1, 2, 3, 4]
    assert longest(tracks, 7) is tracks


def edge(a: int, b: int, x: float, inliers: int, worth: int = 0) -> Edge:
    motion = np.eye(4)
    motion[0, 3] = x
    return Edge(a, b, motion, np.zeros((inliers, 2), np.int64), worth)


def test_poses_follow_the_edges_worth_most():
    edges = [edge(0, 1, -1, 30), edge(1, 2, -1, 30), edge(0, 2, -9, 12), edge(2, 3, -1, 0, 40), edge(2, 3, -7, 20)]
    poses, tree = spanning_poses([0, 1, 2, 3], edges)
    assert [poses[f][0, 3] for f in range(4)] == [0, 1, 2, 3]
    assert tree == {(0, 1), (1, 2), (2, 3)}


def test_only_the_largest_part_is_posed():
    edges = [edge(0, 1, -1, 30), edge(5, 6, -1, 90), edge(6, 7, -1, 90)]
    poses, _ = spanning_poses([0, 1, 5, 6, 7, 9], edges)
    assert sorted(poses) == [5, 6, 7]
    assert connected([0, 1, 5, 6, 7, 9], edges) == [[5, 6, 7], [0, 1], [9]]


def turned(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    pose[:3, 3] = -0.5 * pose[:3, 2]
    return pose


def test_keyframes_and_near_views_on_a_ring():
    poses = {k: turned(5.0 * k) for k in range(72)}
    assert choose_keyframes(poses, [99], np.zeros(3), np.radians(14.9)) == [*range(0, 72, 3), 99]
    pairs = near_pairs(poses, np.zeros(3), np.radians(11), 4)
    assert (0, 71) in pairs and (0, 70) in pairs and (3, 5) in pairs and (0, 3) not in pairs


def test_neighbour_pairs_skip_unusable_frames():
    assert neighbour_pairs([0, 1, 4], (1, 2)) == [(0, 1), (1, 4), (0, 4)]
