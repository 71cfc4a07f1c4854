"""Where the object should be seen next: its shape in the last good frame, carried by its own motion.

Features inside the last good mask, with their stereo depth, are found again in the frame at hand; PnP in RANSAC gives the object's motion
against the camera, whichever of the two moved; the points of the mask, moved so, are its expected silhouette. What turned into view since
is not in it, so the overlap with a right mask is below 1, and what a mask swells over or loses shows at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.motion import Features, features, matched, place

POINTS = 20_000
"""at most, of the mask, that are moved"""
SCATTER = 0.5
"""a disparity this far (as a share of the mask's median) from the rest is a mismatch, not the object"""


@dataclass(frozen=True)
class _Last:
    """Features and points (N, 3) metres of the object in a left camera, and the distance of two of those points in px."""

    features: Features
    xyz: np.ndarray
    step_px: int


class CarriedShape:
    """Remembers one frame: the last whose mask was good."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._last = rig, None

    def features(self, view: WorkingFrame) -> Features:
        """Of the whole picture; the slow part, which needs no order of frames."""
        if not np.isfinite(view.disparity).any():
            return Features(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros((0, 128), np.float32))
        return features(cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY), view.disparity, view.sigma, self._rig)

    def remember(self, view: WorkingFrame, mask: np.ndarray, found: Features) -> None:
        """`mask` (H, W) bool is good; `found` are the frame's features."""
        x, y = np.rint(found.uv).astype(int).T
        inside = mask[np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)]
        step = max(1, int(np.sqrt(mask.sum() / POINTS)))
        v, u = np.nonzero(_of_the_object(view.disparity, mask)[::step, ::step])
        v, u = v * step, u * step
        xyz = view.points(u, v, self._rig)
        self._last = _Last(Features(found.uv[inside], found.xyz[inside], found.descriptors[inside]), xyz, step)

    def expected(self, found: Features) -> np.ndarray | None:
        """(H, W) bool: the object in the frame with these features; None where its motion cannot be told."""
        if self._last is None or len(self._last.xyz) < 50:
            return None
        here, there = matched(found.descriptors, self._last.features.descriptors)
        last_from_left, _ = place(self._last.features.xyz[there], found.uv[here], self._rig)
        return None if last_from_left is None else self._drawn(transform(inverse(last_from_left), self._last.xyz))

    def _drawn(self, xyz: np.ndarray) -> np.ndarray:
        uv = np.rint(self._rig.project(xyz[xyz[:, 2] > 0])).astype(int)
        h, w = self._rig.height, self._rig.width
        x, y = uv[(uv[:, 0] >= 0) & (uv[:, 0] < w) & (uv[:, 1] >= 0) & (uv[:, 1] < h)].T
        out = np.zeros((h, w), np.uint8)
        out[y, x] = 1
        # points are a step apart, and holes in the disparity are no holes in the object
        size = 2 * (2 * self._last.step_px + round(0.01 * w)) + 1
        return cv2.morphologyEx(out, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0


def overlap(mask: np.ndarray, expected: np.ndarray | None) -> float:
    """Intersection over union; NaN where nothing is expected."""
    if expected is None or not expected.any():
        return float("nan")
    return float((mask & expected).sum() / (mask | expected).sum())


def _of_the_object(disparity: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: in the mask, with a disparity near the others' there."""
    known = mask & np.isfinite(disparity)
    if not known.any():
        return known
    middle = float(np.median(disparity[known]))
    with np.errstate(invalid="ignore"):
        return known & (np.abs(disparity - middle) < SCATTER * middle)
