"""Mends masks that lost a part of the object, from the frames before and after, once the motion between them is known.

A mask that is followed from frame to frame may lose the object bit by bit. The motion tells: a part of the object that two earlier
frames show lies where this frame's own depth has a surface, yet off its mask. Such parts are given back (for tracking only; masks on disk
are not touched). Two frames must say so, lest one mask that ran over spreads what it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.dense.view import DenseView, agreement
from stages.core.geometry.rigid import inverse, transform
from stages.track.links.lost_masks import on_object
from stages.track.links.view_graph import Edge, PairOptions, compare
from stages.track.points.frame_points import FramePoints

CUT = 0.1
"""a mask is mended when more of the object's surface than this share is seen off it; good masks stay below 0.02"""
LEAST_SEEN = 100
"""pixels of the small picture that must be seen for a verdict"""
AGREE, VIOLATION = 0.8, 0.05
"""a motion found with no regard to one frame's mask must put so much of the surface on what the frame sees, and so little in front"""
SPLAT = 3
"""px of the small picture that a carried surface is closed by: its pixels land apart where the object came nearer"""


def mend(
    rig: Rig,
    points: Mapping[int, FramePoints],
    views: Mapping[int, DenseView],
    edges: Sequence[Edge],
    options: PairOptions,
) -> tuple[dict[int, FramePoints], dict[int, DenseView], list[int]]:
    """All frames' points and views, those of cut masks with more of the object inside, and the frames that were mended.

    `edges`: believed motions between frames; only those of frames next to each other are used. `options`: of a comparison with all points
    of a frame, where its mask left too few.
    """
    points, views, mended = dict(points), dict(views), set()
    motion = {(e.a, e.b): e.b_from_a for e in edges} | {(e.b, e.a): inverse(e.b_from_a) for e in edges}
    frames = sorted(points)
    for order in (frames, frames[::-1]):
        for i in range(1, len(order)):
            before, frame = order[i - 1], order[i]
            if points[before].mask_lost or points[frame].mask_lost:
                continue
            if (before, frame) not in motion:
                found = _despite_mask(rig, points, views, before, frame, options)
                if found is None:
                    continue
                motion[before, frame], motion[frame, before] = found, inverse(found)
            first = order[i - 2] if i >= 2 else None
            if first is None or (first, before) not in motion:
                continue
            part = _landed(views[before], views[frame], motion[before, frame])
            part &= _landed(views[first], views[frame], motion[before, frame] @ motion[first, before])
            if _cut(part, views[frame]):
                points[frame], views[frame] = _with(
                    rig, points[frame], views[frame], part, views[before], motion[frame, before]
                )
                mended.add(frame)
    return points, views, sorted(mended)


def _despite_mask(
    rig: Rig, points: Mapping[int, FramePoints], views: Mapping[int, DenseView], a: int, b: int, options: PairOptions
) -> np.ndarray | None:
    """b_from_a by all points of b, whatever its mask says, if the surfaces bear it out."""
    edge = compare(rig, points[a], replace(points[b], mask_lost=True), True, options)
    if edge is None:
        return None
    said = agreement(views[a], replace(views[b], mask=np.ones_like(views[b].mask)), edge.b_from_a, True)
    return edge.b_from_a if said.asked >= LEAST_SEEN and said.agree >= AGREE and said.violate <= VIOLATION else None


def _landed(a: DenseView, b: DenseView, b_from_a: np.ndarray) -> np.ndarray:
    """(h, w) bool: where b's own depth shows the surface that a has inside its mask."""
    out = np.zeros(b.mask.shape, np.uint8)
    landed = b.land(transform(b_from_a, a.surface(True)[1]))
    out[landed.at[0][landed.on], landed.at[1][landed.on]] = 1
    return cv2.morphologyEx(out, cv2.MORPH_CLOSE, np.ones((SPLAT, SPLAT), np.uint8)) > 0


def _cut(part: np.ndarray, view: DenseView) -> bool:
    return part.sum() >= LEAST_SEEN and (part & ~view.wide_mask()).sum() > CUT * part.sum()


def _with(
    rig: Rig, points: FramePoints, view: DenseView, part: np.ndarray, before: DenseView, before_from_frame: np.ndarray
) -> tuple[FramePoints, DenseView]:
    uv = np.clip(np.rint(view.pixels(points.uv)).astype(int), 0, [view.rig.width - 1, view.rig.height - 1])
    more = part[uv[:, 1], uv[:, 0]] & on_object(rig, points, before, before_from_frame)
    return replace(points, inside=points.inside | more), replace(view, mask=view.mask | part)
