"""The course of `track` on arrays: points of all frames in, poses and multi-view tracks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.geometry.stereo_points import project_stereo
from stages.core.parallel import ordered_map
from stages.track.frame_points import FramePoints
from stages.track.multiview_tracks import Tracks, build_tracks, gather, guided_matches, locate
from stages.track.view_graph import Edge, PairOptions, alike_pairs, choose_keyframes, compare, connected, near_pairs, neighbour_pairs, spanning_poses

Progress = Callable[[int, int, str], None]
FULL_TURN_RAD = np.radians(300)


@dataclass(frozen=True)
class LinkOptions:
    """Which pairs to compare."""

    gaps: tuple[int, ...]
    keyframe_step_rad: float
    alike_per_frame: int


@dataclass
class ViewGraph:
    """What comparing frames gave: poses (root_from_left) of the largest connected part, its key frames, all edges, and the loops."""

    poses: dict[int, np.ndarray]
    keyframes: list[int]
    edges: list[Edge]
    loops: list[Edge] = field(default_factory=list)
    """edges between frames far apart in time that the poses were not made from"""


def link_frames(rig: Rig, points: Mapping[int, FramePoints], object_only: bool, pair: PairOptions, link: LinkOptions, workers: int,
                progress: Progress) -> ViewGraph:
    """Compare neighbours, then key frames that look alike (with every frame not connected so far), and pose the largest part."""
    frames = sorted(points)
    pairs = neighbour_pairs(frames, link.gaps)
    edges = _compare_all(rig, points, pairs, object_only, pair, workers, progress, "comparing neighbours")
    poses, _ = spanning_poses(frames, edges)
    keyframes = choose_keyframes(poses, [f for f in frames if f not in poses], object_centre(rig, points, poses), link.keyframe_step_rad)
    alike = alike_pairs(points, keyframes, set(pairs), object_only, link.alike_per_frame)
    edges += _compare_all(rig, points, alike, object_only, pair, workers, progress, "comparing key frames")
    poses, tree = spanning_poses(frames, edges)
    reach = max(link.gaps)
    place = {f: i for i, f in enumerate(frames)}
    loops = [e for e in edges if e.a in poses and e.b in poses and (e.a, e.b) not in tree and place[e.b] - place[e.a] > reach]
    return ViewGraph(poses, [k for k in keyframes if k in poses], edges, loops)


def loop_discrepancy(rig: Rig, poses: Mapping[int, np.ndarray], loops: Sequence[Edge], points: Mapping[int, FramePoints]) -> tuple[float, float, float] | None:
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
        gap = (np.degrees(rotation_angle(inverse(chained) @ e.b_from_a)), 1000 * float(np.median(np.linalg.norm(there - here, axis=1))),
               float(np.nanmedian(np.linalg.norm((project_stereo(rig, there) - project_stereo(rig, here))[:, :2], axis=1))))
        worst = max(worst, gap, key=lambda g: g[1])
    return worst


def make_tracks(rig: Rig, points: Mapping[int, FramePoints], graph: ViewGraph, object_only: bool, per_frame: int, max_angle_rad: float,
                radius_px: float, ratio: float, max_error_px: float, workers: int, progress: Progress) -> Tracks:
    """Match near views with their motion known, join the matches, and keep observations that fit their triangulated point."""
    posed = {f: points[f] for f in graph.poses}
    order = sorted(posed)
    pairs = set(near_pairs(graph.poses, object_centre(rig, points, graph.poses), max_angle_rad, per_frame))
    pairs |= {(e.a, e.b) for e in graph.edges if e.a in posed and e.b in posed}

    def match(p: tuple[int, int]) -> tuple[int, int, np.ndarray]:
        a, b = p
        return a, b, guided_matches(rig, posed[a], posed[b], inverse(graph.poses[b]) @ graph.poses[a], object_only, radius_px, ratio, max_error_px)

    found = []
    for done, m in enumerate(ordered_map(match, sorted(pairs), workers)):
        found.append(m)
        progress(done + 1, len(pairs), "building tracks")
    # edges of the graph first: they were matched without trusting any pose
    measured = [(e.a, e.b, e.matches) for e in sorted(graph.edges, key=lambda e: -e.inliers) if e.a in posed and e.b in posed]
    tracks = build_tracks({f: posed[f] for f in order}, [*measured, *sorted(found, key=lambda m: -len(m[2]))])
    return consistent(rig, posed, tracks, graph.poses, radius_px)


def consistent(rig: Rig, points: Mapping[int, FramePoints], tracks: Tracks, poses: Mapping[int, np.ndarray], max_error_px: float) -> Tracks:
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
    sight = np.stack([p[:3, 3] - centre for p in poses.values()])
    sight /= np.maximum(np.linalg.norm(sight, axis=1, keepdims=True), 1e-12)
    return float(np.arccos(np.clip((sight[1:] * sight[:-1]).sum(1), -1, 1)).sum()) > FULL_TURN_RAD


def part_sizes(frames: Sequence[int], edges: Sequence[Edge]) -> list[int]:
    """Sizes of the connected parts, largest first."""
    return [len(p) for p in connected(frames, edges)]


def _compare_all(rig, points, pairs, object_only, options, workers, progress, note) -> list[Edge]:
    found = []
    for done, edge in enumerate(ordered_map(lambda p: compare(rig, points[p[0]], points[p[1]], object_only, options), pairs, workers)):
        if edge is not None:
            found.append(edge)
        progress(done + 1, len(pairs), note)
    return found


def object_centre(rig: Rig, points: Mapping[int, FramePoints], poses: Mapping[int, np.ndarray]) -> np.ndarray:
    """(3,) robust centre of the object's points (all points where no mask is known) over the posed frames, in the poses' frame."""
    seen = []
    for f, pose in poses.items():
        p = points[f]
        x = p.xyz(rig)[p.inside] if p.inside.any() else p.xyz(rig)
        x = x[np.isfinite(x).all(1)]
        if len(x):
            seen.append(transform(pose, np.median(x, 0)))
    return np.median(seen, 0) if seen else np.array([0.0, 0.0, 1.0])

