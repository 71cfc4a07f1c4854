"""Lets matchers without key points feed the same tracks and the same bundle adjustment.

A dense matcher gives places that belong together in two pictures, other ones for every pair, so they do not join to tracks by themselves.
Here they only tell where the key points of one frame lie in the other: each takes the shift of the correspondences round it, and the key
point there is its match if both directions agree. So a point keeps its number in every pair, its right eye is measured once, and places
are refined in the pictures as always.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from stages.track.points.frame_points import FramePoints

NEAREST = 6
"""correspondences that tell a key point its shift"""
REACH_STEPS = 2.0
"""how far they may be from it, in steps of the matcher's grid"""
AGREE_PX = 3.0
"""how far a shift may be from the median of those round the point"""
SNAP_PX = 2.5
"""how far the key point of the other frame may be from where it is expected"""
PICTURES_KEPT = 8
"""pictures kept decoded; neighbours are compared together"""


@dataclass(frozen=True)
class Correspondences:
    """uv_a (K, 2) and uv_b (K, 2) px of the full pictures, centres at integers; confidence (K,) 0..1; step_px: spacing of the grid in a."""

    uv_a: np.ndarray
    uv_b: np.ndarray
    confidence: np.ndarray
    step_px: float


DenseCorrespondences = Callable[[np.ndarray, np.ndarray], Correspondences]
"""(H, W, 3) RGB uint8 pictures a and b -> what belongs together. Called from several threads."""


class DenseMatcher:
    """See PairMatcher. `pictures`: frame -> (H, W, 3) RGB uint8."""

    def __init__(self, network: DenseCorrespondences, pictures: Callable[[int], np.ndarray]) -> None:
        self._network, self._pictures, self._kept = network, pictures, OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, a: FramePoints, b: FramePoints, from_a: np.ndarray, from_b: np.ndarray) -> np.ndarray:
        """See PairMatcher."""
        if min(len(from_a), len(from_b)) == 0:
            return np.zeros((0, 2), np.int64)
        found = self._network(self._picture(a.frame), self._picture(b.frame))
        pairs = join(found, a.uv[from_a], b.uv[from_b])
        return np.column_stack([from_a[pairs[:, 0]], from_b[pairs[:, 1]]])

    def _picture(self, frame: int) -> np.ndarray:
        with self._lock:
            if frame not in self._kept:
                self._kept[frame] = self._pictures(frame)
                if len(self._kept) > PICTURES_KEPT:
                    self._kept.popitem(last=False)
            return self._kept[frame]


def join(found: Correspondences, uv_a: np.ndarray, uv_b: np.ndarray) -> np.ndarray:
    """(M, 2) indices of key points (N, 2), (K, 2) px that the correspondences bring together, in both directions."""
    if len(found.uv_a) < NEAREST:
        return np.zeros((0, 2), np.int64)
    there = carried(found.uv_a, found.uv_b, uv_a, REACH_STEPS * found.step_px)
    back = carried(found.uv_b, found.uv_a, uv_b, REACH_STEPS * found.step_px)
    to_b, to_a = _nearest(there, uv_b), _nearest(back, uv_a)
    ia = np.flatnonzero(to_b >= 0)
    ia = ia[to_a[to_b[ia]] == ia]
    return np.column_stack([ia, to_b[ia]])


def carried(start: np.ndarray, end: np.ndarray, uv: np.ndarray, reach_px: float) -> np.ndarray:
    """(N, 2) where points `uv` go: moved by the mean shift (nearer ones weigh more) of the correspondences round them that agree; NaN
    where there are too few."""
    distance, index = cKDTree(start).query(uv, NEAREST, distance_upper_bound=reach_px)
    near = np.isfinite(distance)
    shift = np.where(near[:, :, None], (end - start)[np.where(near, index, 0)], np.nan)
    known = near.sum(1) >= NEAREST // 2
    out = np.full(uv.shape, np.nan)
    if not known.any():
        return out
    distance, shift, near = distance[known], shift[known], near[known]
    off = np.linalg.norm(shift - np.nanmedian(shift, 1)[:, None], axis=2)
    weight = np.where(near & (off < AGREE_PX), 1 / (1 + np.where(near, distance, 0) ** 2), 0.0)
    total = weight.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        out[known] = uv[known] + (np.nan_to_num(shift) * weight[:, :, None]).sum(1) / total[:, None]
    return out


def _nearest(expected: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(N,) index of the point of `uv` nearest to each expected place, -1 where none is within SNAP_PX."""
    known = np.isfinite(expected).all(1)
    out = np.full(len(expected), -1)
    distance, index = cKDTree(uv).query(expected[known], distance_upper_bound=SNAP_PX)
    out[known] = np.where(np.isfinite(distance), index, -1)
    return out
