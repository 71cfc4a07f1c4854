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
    share = still_share(pictures, outside)
    return share > STILL_SHARE or unchanged_share(pictures, outside) > UNCHANGED_SHARE, share


def still_share(pictures: Sequence[np.ndarray], outside: np.ndarray | None = None) -> float:
    """Share (0-1) of the textured background that stays in place over the (h, w, 3) uint8 `pictures`, the first being the reference.

    `outside` (h, w) bool: where the background is known to be. Exposure changes are divided out by the median ratio.
    """
    reference = _soft_gray(pictures[0])
    outside = np.ones(reference.shape, bool) if outside is None else outside
    slope = _slope(reference)
    textured = outside & (slope > max(1.5, float(np.percentile(slope[outside], 60)))) if outside.any() else outside
    return _in_place(pictures, reference, outside, textured if textured.sum() >= 300 else outside)


def unchanged_share(pictures: Sequence[np.ndarray], outside: np.ndarray | None = None) -> float:
    """The same share of all pixels, with texture or without."""
    reference = _soft_gray(pictures[0])
    outside = np.ones(reference.shape, bool) if outside is None else outside
    return _in_place(pictures, reference, outside, outside)


def _soft_gray(rgb: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)


def _slope(gray: np.ndarray) -> np.ndarray:
    """Grey levels per px."""
    return np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1)) / 8


def _in_place(pictures: Sequence[np.ndarray], reference: np.ndarray, outside: np.ndarray, asked: np.ndarray) -> float:
    """Median over the pictures after the first of the share of `asked` (h, w) bool that looks as in the `reference`."""
    slope, shares = _slope(reference), []
    for picture in pictures[1:]:
        gray = _soft_gray(picture)
        gain = np.median(gray[outside] / np.maximum(reference[outside], 1.0))
        # half a pixel of shift along the slope still counts as still
        moved = np.abs(gray / max(float(gain), 1e-3) - reference) > 0.5 * slope + 2.5
        shares.append(1 - float(moved[asked].mean()))
    return float(np.median(shares)) if shares else 0.0
