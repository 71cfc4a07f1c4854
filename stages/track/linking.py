"""Ties the frames of a capture together: neighbours by points, gaps between them by their surfaces, then loops.

What neighbours in time say is believed first. A loop (or an object found again) rests on a few points that look alike, and the same logo
on two sides of a box looks alike too; so a loop must agree with the chain of neighbours where there is one, and with the dense surfaces
of both frames everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.parallel import ordered_map
from stages.track.dense_alignment import align_surfaces
from stages.track.dense_view import DenseView, agreement
from stages.track.frame_points import FramePoints
from stages.track.view_graph import Edge, PairOptions, alike_pairs, choose_keyframes, compare, connected, neighbour_pairs, spanning_poses

Progress = Callable[[int, int, str], None]
MIN_ASKED = 300
"""surface points that must meet before their verdict counts"""
NEIGHBOUR_VIOLATION, NEIGHBOUR_AGREE = 0.15, 0.5
"""a motion between neighbours is false when more of the surface floats or falls off the object, or less of it is met"""
LOOP_VIOLATION, LOOP_AGREE = 0.04, 0.5
"""the same for loops: true ones stay below 0.04 on the captures tried, front taken for back is at 0.05 to 0.3"""
CHAIN_ERROR_DEG = 6.0
"""a loop may differ from the chain of neighbours by this: chains drift by a tenth of a degree a frame, mix-ups are off by tens"""
SURFACE_AGREE, SURFACE_VIOLATION, SURFACE_CORRELATION, SURFACE_SIGMA_DEG = 0.7, 0.06, 0.7, 0.8
"""an alignment of surfaces counts when so much of both meets, so little floats, grey values go together, and the turn is so certain"""

SURFACE_WORTH = 40
"""matches that an alignment of surfaces is worth: it is good to 0.1 to 0.5 degrees, a dozen matches to 1 to 3"""


@dataclass(frozen=True)
class LinkOptions:
    """Which pairs to compare (`alike_ratio`: see Likeness); `strong_inliers` points make a motion where surfaces cannot be asked."""

    gaps: tuple[int, ...]
    keyframe_step_rad: float
    alike_per_frame: int
    alike_ratio: float
    strong_inliers: int


@dataclass
class ViewGraph:
    """What comparing frames gave: poses (root_from_left) of the largest connected part, its key frames, all edges, and the loops."""

    poses: dict[int, np.ndarray]
    keyframes: list[int]
    edges: list[Edge]
    loops: list[Edge] = field(default_factory=list)
    """edges between frames far apart in time that the poses were not made from"""
    refused: int = 0
    """loops that contradicted the chain or the surfaces"""


@dataclass(frozen=True)
class _Frames:
    """What is known of all frames, and how to compare them."""

    rig: Rig
    points: Mapping[int, FramePoints]
    views: Mapping[int, DenseView]
    object_only: bool
    pair: PairOptions
    link: LinkOptions
    workers: int
    progress: Progress


def link_frames(
    rig: Rig,
    points: Mapping[int, FramePoints],
    views: Mapping[int, DenseView],
    object_only: bool,
    pair: PairOptions,
    link: LinkOptions,
    workers: int,
    progress: Progress,
) -> ViewGraph:
    """Compare neighbours, bridge the gaps, then key frames that look alike; pose the largest connected part."""
    known = _Frames(rig, points, views, object_only, pair, link, workers, progress)
    frames = sorted(points)
    pairs = neighbour_pairs(frames, link.gaps)
    edges = [e for e in _compare_all(known, pairs, "comparing neighbours") if _credible(known, e, NEIGHBOUR_AGREE, NEIGHBOUR_VIOLATION)]
    edges += _bridges(known, frames, edges)
    poses, _ = spanning_poses(frames, edges)
    keyframes = choose_keyframes(poses, [f for f in frames if f not in poses], object_centre(rig, points, poses), link.keyframe_step_rad)
    similar = alike_pairs(points, keyframes, set(pairs), object_only, link.alike_per_frame, link.alike_ratio)
    alike = _compare_all(known, similar, "comparing key frames")
    loops = _believed(known, frames, edges, alike)
    edges += loops
    poses, tree = spanning_poses(frames, edges)
    spare = [e for e in loops if e.a in poses and e.b in poses and (e.a, e.b) not in tree]
    return ViewGraph(poses, [k for k in keyframes if k in poses], edges, spare, len(alike) - len(loops))


def _compare_all(known: _Frames, pairs: Sequence[tuple[int, int]], note: str) -> list[Edge]:
    found = []
    job = lambda p: compare(known.rig, known.points[p[0]], known.points[p[1]], known.object_only, known.pair)  # noqa: E731
    for done, edge in enumerate(ordered_map(job, pairs, known.workers)):
        if edge is not None:
            found.append(edge)
        known.progress(done + 1, len(pairs), note)
    return found


def _credible(known: _Frames, edge: Edge, agree: float, violation: float) -> bool:
    """Whether the surfaces of both frames bear the edge out; where they cannot be asked, many points must."""
    there = agreement(known.views[edge.a], known.views[edge.b], edge.b_from_a, known.object_only)
    back = agreement(known.views[edge.b], known.views[edge.a], inverse(edge.b_from_a), known.object_only)
    if min(there.asked, back.asked) < MIN_ASKED:
        return edge.inliers >= known.link.strong_inliers
    return min(there.agree, back.agree) >= agree and max(there.violate, back.violate) <= violation


def _believed(known: _Frames, frames: Sequence[int], chain: Sequence[Edge], loops: Sequence[Edge]) -> list[Edge]:
    """Loops that agree with the chain of neighbours, and those between unconnected parts that many points and the surfaces bear out."""
    out = []
    for part in connected(frames, chain):
        own = [e for e in chain if e.a in part and e.b in part]
        poses, _ = spanning_poses(part, own)
        for e in loops:
            if e.a in poses and e.b in poses:
                gap = rotation_angle(inverse(e.b_from_a) @ inverse(poses[e.b]) @ poses[e.a])
                if np.degrees(gap) < CHAIN_ERROR_DEG:
                    out.append(e)
            elif e.a in poses and e.inliers >= known.link.strong_inliers and _credible(known, e, LOOP_AGREE, LOOP_VIOLATION):
                out.append(e)
    return sorted(out, key=lambda e: (e.a, e.b))


def _bridges(known: _Frames, frames: Sequence[int], edges: Sequence[Edge]) -> list[Edge]:
    """Edges by aligned surfaces between successive frames that share few points; each new one gives the next a start."""
    own = {(e.a, e.b): e for e in edges}
    motion = {p: e.b_from_a for p, e in own.items()}
    found: dict[tuple[int, int], Edge] = {}
    places = range(len(frames) - 1)
    for i in (*places, *reversed(places)):  # the second time round, starts come from behind
        a, b = frames[i], frames[i + 1]
        if (a, b) in found or ((a, b) in own and own[a, b].inliers >= SURFACE_WORTH):
            continue
        beside = ((a, b), (frames[i - 1], a) if i else None, (b, frames[i + 2]) if i + 2 < len(frames) else None)
        edge = _bridge(known, a, b, [*(motion[p] for p in beside if p in motion), np.eye(4)])
        known.progress(i, len(frames), "bridging gaps")
        if edge is not None:
            motion[a, b], found[a, b] = edge.b_from_a, edge
    return list(found.values())


def _bridge(known: _Frames, a: int, b: int, starts: Iterable[np.ndarray]) -> Edge | None:
    """The best alignment from any start that passes every test; it carries no matches."""
    best, score = None, -np.inf
    for start in starts:
        aligned = align_surfaces(known.views[a], known.views[b], start, known.object_only)
        if aligned is None or aligned.correlation < SURFACE_CORRELATION or np.degrees(aligned.sigma_rad) > SURFACE_SIGMA_DEG:
            continue
        edge = Edge(a, b, aligned.b_from_a, np.zeros((0, 2), np.int64), SURFACE_WORTH)
        if aligned.correlation > score and _credible(known, edge, SURFACE_AGREE, SURFACE_VIOLATION):
            best, score = edge, aligned.correlation
    return best


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
