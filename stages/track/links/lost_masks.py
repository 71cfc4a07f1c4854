"""Finds the object's points in frames whose mask was lost, from the neighbour that still knows them.

The neighbour's object points are matched against all points of the frame; the motion they agree on tells which of the frame's points lie
on the neighbour's object. From frame to frame, forward and then backward, so that a long gap is crossed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import inverse, transform
from stages.track.links.view_graph import PairOptions, compare
from stages.track.points.frame_points import FramePoints

DISPARITY_SHARE = 0.04
"""a point lies on the neighbour's object if it meets its disparity to within this share"""


def recover(
    rig: Rig, points: Mapping[int, FramePoints], views: Mapping[int, DenseView], options: PairOptions
) -> tuple[dict[int, FramePoints], list[int]]:
    """All frames' points, cut down to the object and `mask_lost` taken back where the object was found; and those frames."""
    out, frames, found = dict(points), sorted(points), []
    reach: dict[int, tuple[int, np.ndarray]] = {}
    for order in (frames, frames[::-1]):
        for known, lost in pairwise(order):
            if not out[lost].mask_lost or out[known].mask_lost:
                continue
            edge = compare(rig, out[known], out[lost], True, options)
            if edge is None:
                continue
            # the surface with a real mask that this chain started from
            source, source_from_known = reach.get(known, (known, np.eye(4)))
            source_from_lost = source_from_known @ inverse(edge.b_from_a)
            inside = on_object(rig, out[lost], views[source], source_from_lost)
            inside[edge.matches[:, 1]] = True
            out[lost] = replace(out[lost], inside=inside, mask_lost=False).only(inside)
            reach[lost] = source, source_from_lost
            found.append(lost)
    return out, sorted(found)


def on_object(rig: Rig, points: FramePoints, view: DenseView, view_from_points: np.ndarray) -> np.ndarray:
    """(N,) bool: the points that lie on the masked surface of another frame's view."""
    x = transform(view_from_points, points.xyz(rig))
    uv = view.rig.project(x)
    with np.errstate(invalid="ignore"):
        seen = (uv[:, 0] > 0) & (uv[:, 1] > 0) & (uv[:, 0] < view.rig.width - 1) & (uv[:, 1] < view.rig.height - 1)
    pixel = np.rint(np.where(seen[:, None], uv, 0)).astype(int)
    at = (pixel[:, 1], pixel[:, 0])
    predicted = view.predicted_disparity(x)
    with np.errstate(invalid="ignore"):
        return (
            seen
            & view.mask[at]
            & (np.abs(predicted - view.disparity[at].astype(np.float64)) < DISPARITY_SHARE * predicted)
        )
