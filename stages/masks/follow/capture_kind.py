"""Does the camera move round a still scene, or does the object move before a still camera? Decided from the pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

WIDTH = 480
"""px; the question needs no more"""
STILL_SHARE = 0.7
"""a still background keeps nearly all its texture in place, a moving one almost none; the object may cover some"""
UNCHANGED_SHARE = 0.83
"""share of all pixels beside the object that stay as they were, from which the camera keeps still too: before a bare wall an arm may be all
that has texture (drawn captures: 0.86 to 1.0 where the camera keeps still, at most 0.59 where it moves; temple_ring, all black, 0.78)"""


def small(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, WIDTH, 3) uint8."""
    return cv2.resize(rgb, (WIDTH, max(8, round(rgb.shape[0] * WIDTH / rgb.shape[1]))), interpolation=cv2.INTER_AREA)


def keeps_still(pictures: Sequence[np.ndarray], outside: np.ndarray | None = None) -> tuple[bool, float]:
    """Whether the camera does, and the `still_share`; arguments as there."""
    textured, all_ = _in_place(pictures, outside)
    return textured > STILL_SHARE or all_ > UNCHANGED_SHARE, textured


def still_share(pictures: Sequence[np.ndarray], outside: np.ndarray | None = None) -> float:
    """Share (0-1) of the textured background that stays in place over the (h, w, 3) uint8 `pictures`, the first being the reference.

    `outside` (h, w) bool: where the background is known to be. Exposure changes are divided out by the median ratio.
    """
    return _in_place(pictures, outside)[0]


def _in_place(pictures: Sequence[np.ndarray], outside: np.ndarray | None) -> tuple[float, float]:
    """Shares of the background that stay in place: of what has texture, and of all of it."""
    reference = _soft_gray(pictures[0])
    outside = np.ones(reference.shape, bool) if outside is None else outside
    slope = np.hypot(cv2.Sobel(reference, -1, 1, 0), cv2.Sobel(reference, -1, 0, 1)) / 8
    textured = outside & (slope > max(1.5, float(np.percentile(slope[outside], 60)))) if outside.any() else outside
    if textured.sum() < 300:
        textured = outside
    shares = []
    for picture in pictures[1:]:
        gray = _soft_gray(picture)
        gain = np.median(gray[outside] / np.maximum(reference[outside], 1.0))
        # half a pixel of shift along the slope still counts as still
        moved = np.abs(gray / max(float(gain), 1e-3) - reference) > 0.5 * slope + 2.5
        shares.append([1 - float(moved[where].mean()) for where in (textured, outside)])
    if not shares:
        return 0.0, 0.0
    of_textured, of_all = np.median(shares, axis=0).tolist()
    return of_textured, of_all


def _soft_gray(rgb: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
