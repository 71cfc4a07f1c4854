"""The dense views of a grip: the object together with what holds it, laid onto each other as one surface.

A sheet that turns its edge to the camera, a bare bowl among fingers: the object alone leaves the motion open, the hand round it does not.
What keeps its place from frame to frame is the background's and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.alignment import blurred
from stages.core.dense.view import DenseView
from stages.track.links.grip import REACH, reach_of
from stages.track.points.frame_points import FramePoints

STILL_GRAY, STILL_DISPARITY_PX = 4.0, 0.5
"""what differs by less in grey and disparity from the frame before or after keeps its place"""
SURE_PX = 1.5
"""standard deviation of the disparities that count"""


def held_views(
    rig: Rig, points: Mapping[int, FramePoints], small: Mapping[int, DenseView], views: Mapping[int, DenseView]
) -> dict[int, DenseView]:
    """`views` with what holds the object in their masks; `small`: the same frames' whole pictures."""
    frames = sorted(small)
    still = {f: np.zeros(small[f].mask.shape, bool) for f in frames}
    for a, b in pairwise(frames):
        same = _same(small[a], small[b])
        still[a] |= same
        still[b] |= same
    return {f: _held(rig, points[f], view, small[f], still[f]) if f in points else view for f, view in views.items()}


def _same(a: DenseView, b: DenseView) -> np.ndarray:
    """(h, w) bool: both show the same there."""
    gray = [blurred(v, 1.0) for v in (a, b)]
    apart = a.disparity.astype(np.float32) - b.disparity.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return (np.abs(gray[0] - gray[1]) < STILL_GRAY) & (np.abs(apart) < STILL_DISPARITY_PX)


def _held(rig: Rig, points: FramePoints, view: DenseView, small: DenseView, still: np.ndarray) -> DenseView:
    """One view with what is near the object's middle and does not keep its place."""
    reach = reach_of(rig, points)
    if reach is None or points.gripped is None or not view.mask.any():
        return view
    h, w = view.mask.shape
    v, u = np.mgrid[:h, :w]
    uv = np.column_stack([u.ravel(), v.ravel()])
    x = view.rig.backproject(uv, view.depth(view.disparity.astype(np.float64).ravel()))
    column, row = np.clip(np.rint(small.pixels(view.full_pixels(uv))).astype(int), 0, np.array(still.shape[::-1]) - 1).T
    with np.errstate(invalid="ignore"):
        near = (np.linalg.norm(x - reach.middle, axis=1) < REACH * reach.radius_m) & (view.sigma.ravel() < SURE_PX)
    near &= ~still[row, column]
    return replace(view, mask=view.mask | near.reshape(h, w))
