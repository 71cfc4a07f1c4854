"""The course of `track` on arrays: points of all frames in, poses and multi-view tracks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.view import DenseView
from stages.core.geometry.directions import unit
from stages.core.geometry.near_views import near_pairs
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.geometry.stereo_points import project_stereo
from stages.core.parallel import ordered_map
from stages.track.links.linking import ViewGraph, object_centre
from stages.track.links.view_graph import Edge, connected
from stages.track.points.features import Likeness
from stages.track.points.frame_points import FramePoints
from stages.track.tracks.multiview_tracks import Tracks, build_tracks, gather, guided_matches, locate
from stages.track.tracks.track_extension import predict, weak_frames, with_single_views

Progress = Callable[[int, int, str], None]
FULL_TURN_RAD = np.radians(300)


def loop_discrepancy(
    rig: Rig, poses: Mapping[int, np.ndarray], loops: Sequence[Edge], points: Mapping[int, FramePoints]
) -> tuple[float, float, float] | None:
    """(degrees, millimetres at the object, px) by which poses chained along the capture miss the loops measured directly: the worst loop
    of those in the upper half of support. None without loops."""
    if not loops:
        return None
    trusted = [e for e in loops if e.inliers >= np.median([e.inliers for e in loops])]
    worst = (0.0, 0.0, 0.0)
    for e in trusted:
        chained = inverse(poses[e.b]) @ poses[e.a]
        x = points[e.a].xyz(rig)[e.matches[:, 0]]
        there, here = transform(chained, x), transform(e.b_from_a, x)
        gap = (
            np.degrees(rotation_angle(inverse(chained) @ e.b_from_a)),
            1000 * float(np.median(np.linalg.norm(there - here, axis=1))),
            float(
                np.nanmedian(np.linalg.norm((project_stereo(rig, there) - project_stereo(rig, here))[:, :2], axis=1))
            ),
        )
        worst = max(worst, gap, key=lambda g: g[1])
    return worst


@dataclass(frozen=True)
class TrackOptions:
    """How tracks are made: pairs per frame, widest angle between views, search radius, alike descriptors, error limit, how many to want."""

    per_frame: int
    max_angle_rad: float
    radius_px: float
    likeness: Likeness
    max_error_px: float
    max_observations: int
    enough_observations: int


def make_tracks(
    rig: Rig,
    points: Mapping[int, FramePoints],
    graph: ViewGraph,
    object_only: bool,
    options: TrackOptions,
    workers: int,
    progress: Progress,
) -> Tracks:
    """Match near views with their motion known, join the matches, and keep observations that fit their triangulated point."""
    posed = {f: points[f] for f in sorted(graph.poses)}
    pairs = set(
        near_pairs(graph.poses, object_centre(rig, points, graph.poses), options.max_angle_rad, options.per_frame)
    )
    pairs |= {(e.a, e.b) for e in graph.edges if e.a in posed and e.b in posed}

    def match(p: tuple[int, int]) -> tuple[int, int, np.ndarray]:
        a, b = p
        b_from_a = inverse(graph.poses[b]) @ graph.poses[a]
        known = (b_from_a, object_only, options.radius_px, options.likeness, options.max_error_px)
        return a, b, guided_matches(rig, posed[a], posed[b], *known)

    found = []
    for done, m in enumerate(ordered_map(match, sorted(pairs), workers)):
        found.append(m)
        progress(done + 1, len(pairs), "building tracks")
    # edges of the graph first: they were matched without trusting any pose
    measured = [
        (e.a, e.b, e.matches) for e in sorted(graph.edges, key=lambda e: -e.inliers) if e.a in posed and e.b in posed
    ]
    tracks = build_tracks(posed, [*measured, *sorted(found, key=lambda m: -len(m[2]))])
    return longest(consistent(rig, posed, tracks, graph.poses, options.radius_px), options.max_observations)


def extended(
    rig: Rig,
    points: Mapping[int, FramePoints],
    views: Mapping[int, DenseView],
    tracks: Tracks,
    poses: Mapping[int, np.ndarray],
    object_only: bool,
    options: TrackOptions,
) -> tuple[Tracks, tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """The tracks with predicted observations added to weak frames; (uvr, slope, scale_px) of all observations, NaN slope and scale for
    predicted ones; and the points (P, 3). Sorted by point, then frame.

    Points that only one frame detected are predicted too, between weak frames and those with the most similar view.
    """
    xyz, _ = locate(rig, tracks, poses, gather(points, tracks, "uvr"), np.full(len(tracks.point), 0.5))
    weak = weak_frames(tracks, list(poses), options.enough_observations)
    known = tracks.count
    near = {
        f for pair in near_pairs(poses, np.zeros(3), options.max_angle_rad, 2) if set(pair) & set(weak) for f in pair
    }
    around = sorted({*weak, *near})
    tracks, xyz = with_single_views(rig, tracks, xyz, points, poses, object_only, around)
    uvr, slope, scale = (gather(points, tracks, n) for n in ("uvr", "slope", "scale_px"))
    wanted = {f: 0 if f in weak else known for f in around}
    more, predicted = predict(rig, tracks, xyz, poses, views, object_only, wanted, options.max_angle_rad)
    order = np.lexsort((more.frame, more.point))
    uvr = np.concatenate([uvr, predicted])[order]
    slope = np.concatenate([slope, np.full((len(predicted), 2), np.nan, slope.dtype)])[order]
    scale = np.concatenate([scale, np.full(len(predicted), np.nan, scale.dtype)])[order]
    return Tracks(more.point[order], more.frame[order], more.feature[order]), (uvr, slope, scale), xyz


def consistent(
    rig: Rig, points: Mapping[int, FramePoints], tracks: Tracks, poses: Mapping[int, np.ndarray], max_error_px: float
) -> Tracks:
    """Drop observations far from their triangulated point, then points left with one observation."""
    if tracks.count == 0:
        return tracks
    for _ in range(2):
        uvr = gather(points, tracks, "uvr")
        _, residual = locate(rig, tracks, poses, uvr, np.full(len(uvr), 0.5))
        with np.errstate(invalid="ignore"):
            good = np.hypot(residual[:, 0], residual[:, 1]) < max_error_px
        tracks = tracks.only(good, 2)
        if tracks.count == 0:
            break
    return tracks


def longest(tracks: Tracks, max_observations: int) -> Tracks:
    """The longest tracks that stay within the limit together."""
    if len(tracks.point) <= max_observations:
        return tracks
    length = np.bincount(tracks.point)
    order = np.argsort(-length, kind="stable")
    chosen = np.zeros(len(length), bool)
    chosen[order[np.cumsum(length[order]) <= max_observations]] = True
    return tracks.only(chosen[tracks.point], 2)


def full_turn(poses: Mapping[int, np.ndarray], centre: np.ndarray) -> bool:
    """Whether the views go right round: the summed angle between the lines of sight of successive frames."""
    sight = unit(np.stack([p[:3, 3] - centre for p in poses.values()]))
    return float(np.arccos(np.clip((sight[1:] * sight[:-1]).sum(1), -1, 1)).sum()) > FULL_TURN_RAD


def part_sizes(frames: Sequence[int], edges: Sequence[Edge]) -> list[int]:
    """Sizes of the connected parts, largest first."""
    return [len(p) for p in connected(frames, edges)]
