"""Ties the frames of a capture together: neighbours by points, gaps between them by their surfaces, then loops.

What neighbours in time say is believed first. A loop (or an object found again) rests on a few points that look alike, and the same logo
on two sides of a box looks alike too; so a loop must agree with the chain of neighbours where there is one, and with the dense surfaces
of both frames everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.look import judge
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import transform
from stages.core.parallel import ordered_map
from stages.track.links.bridges import bridges
from stages.track.links.credibility import (
    LOOP_AGREE,
    LOOP_VIOLATION,
    NEIGHBOUR_AGREE,
    NEIGHBOUR_VIOLATION,
    Known,
    LinkOptions,
    Progress,
    credible,
)
from stages.track.links.loops import Jump, believed
from stages.track.links.mask_mending import mend
from stages.track.links.verification import contradicted
from stages.track.links.view_graph import (
    Edge,
    PairOptions,
    alike_pairs,
    choose_keyframes,
    compare,
    neighbour_pairs,
    spanning_poses,
)
from stages.track.points.frame_points import FramePoints, object_middle


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
    points: Mapping[int, FramePoints] = field(default_factory=dict)
    views: Mapping[int, DenseView] = field(default_factory=dict)
    """of all frames, `inside` and `mask` as mended"""
    mended: list[int] = field(default_factory=list)
    """frames whose mask had lost a part of the object"""
    jumps: list[Jump] = field(default_factory=list)
    """loops that would have joined parts of the capture, and were not believed because the object would have leapt"""
    contradicted: dict[int, str] = field(default_factory=dict)
    """frames that had a pose, but other frames contradict it, and how"""


def link_frames(
    rig: Rig,
    points: Mapping[int, FramePoints],
    views: Mapping[int, DenseView],
    object_only: bool,
    pair: PairOptions,
    link: LinkOptions,
    workers: int,
    progress: Progress,
    held: Mapping[int, DenseView] | None = None,
) -> ViewGraph:
    """Compare neighbours, bridge the gaps, then key frames that look alike; pose the largest connected part. `held`: see `Known`."""
    known = Known(rig, points, views, object_only, pair, link, workers, progress, held)
    frames = sorted(points)
    pairs = neighbour_pairs(frames, link.gaps)
    known, edges, mended = _neighbours(known, pairs)
    edges += bridges(known, frames, edges)
    known = _doubting_masks(known, {f for e in edges for f in (e.a, e.b)})
    points = known.points
    poses, _ = spanning_poses(frames, edges)
    keyframes = choose_keyframes(
        poses, [f for f in frames if f not in poses], object_centre(rig, points, poses), link.keyframe_step_rad
    )
    similar = alike_pairs(points, keyframes, set(pairs), object_only, link.alike_per_frame, link.alike_ratio)
    alike = _compare_all(known, similar, "comparing key frames")
    joins = [e for e in alike if e.inliers >= link.strong_inliers and credible(known, e, LOOP_AGREE, LOOP_VIOLATION)]
    joins = [e for e in joins if not judge(known.views[e.a], known.views[e.b], e.b_from_a, object_only).other]
    loops, jumps = believed(frames, edges, alike, joins, {f: object_middle(rig, p) for f, p in points.items()})
    edges += loops
    poses, tree = spanning_poses(frames, edges)
    false = contradicted(known.views, poses, object_centre(rig, points, poses), object_only, known.held)
    poses = {f: p for f, p in poses.items() if f not in false}
    spare = [e for e in loops if e.a in poses and e.b in poses and (e.a, e.b) not in tree]
    keyframes = [k for k in keyframes if k in poses]
    return ViewGraph(
        poses, keyframes, edges, spare, len(alike) - len(loops), known.points, known.views, mended, jumps, false
    )


def _neighbours(known: Known, pairs: Sequence[tuple[int, int]]) -> tuple[Known, list[Edge], list[int]]:
    """What is known, with cut masks mended; the believed motions between neighbours; the frames that were mended."""
    edges = _believable(known, _compare_all(known, pairs, "comparing neighbours"))
    if not known.object_only:
        return known, edges, []
    points, views, mended = mend(known.rig, known.points, known.views, edges, known.pair)
    if mended:
        known = replace(known, points=points, views=views)
        again = [p for p in pairs if set(p) & set(mended)]
        edges = [e for e in edges if not {e.a, e.b} & set(mended)]
        edges += _believable(known, _compare_all(known, again, "comparing neighbours with mended masks"))
    return known, edges, mended


def _believable(known: Known, found: Sequence[Edge]) -> list[Edge]:
    return [e for e in found if credible(known, e, NEIGHBOUR_AGREE, NEIGHBOUR_VIOLATION)]


def _doubting_masks(known: Known, linked: set[int]) -> Known:
    """Frames that no neighbour knows are compared by all their points from here on: their mask may lie beside the object."""
    if not known.object_only:
        return known
    return replace(known, points={f: p if f in linked else replace(p, mask_lost=True) for f, p in known.points.items()})


def _compare_all(known: Known, pairs: Sequence[tuple[int, int]], note: str) -> list[Edge]:
    found = []

    def job(p):
        return compare(known.rig, known.points[p[0]], known.points[p[1]], known.object_only, known.pair)

    for done, edge in enumerate(ordered_map(job, pairs, known.workers)):
        if edge is not None:
            found.append(edge)
        known.progress(done + 1, len(pairs), note)
    return found


def object_centre(rig: Rig, points: Mapping[int, FramePoints], poses: Mapping[int, np.ndarray]) -> np.ndarray:
    """(3,) robust centre of the object's points (all points where no mask is known) over the posed frames, in the poses' frame."""
    seen = [
        transform(pose, middle)
        for f, pose in poses.items()
        if np.isfinite(middle := object_middle(rig, points[f])).all()
    ]
    return np.median(seen, 0) if seen else np.array([0.0, 0.0, 1.0])
