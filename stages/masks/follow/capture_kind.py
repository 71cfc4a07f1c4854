"""Does the camera move round a still scene, or does the object move before a still camera? Decided from the pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

WIDTH = 480
"""px; the question needs no more"""
STILL_SHARE = 0.7
"""a still background keeps nearly all its texture in place, a moving one almost none; the object may cover some"""


def small(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, WIDTH, 3) uint8."""
    return cv2.resize(rgb, (WIDTH, max(8, round(rgb.shape[0] * WIDTH / rgb.shape[1]))), interpolation=cv2.INTER_AREA)


def still_share(pictures: Sequence[np.ndarray], outside: np.ndarray | None = None) -> float:
    """Share (0-1) of the textured background that stays in place over the (h, w, 3) uint8 `pictures`, the first being the reference.

    `outside` (h, w) bool: where the background is known to be. Exposure changes are divided out by the median ratio.
    """
    reference = cv2.GaussianBlur(cv2.cvtColor(pictures[0], cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    outside = np.ones(reference.shape, bool) if outside is None else outside
    slope = np.hypot(cv2.Sobel(reference, -1, 1, 0), cv2.Sobel(reference, -1, 0, 1)) / 8
    textured = outside & (slope > max(1.5, float(np.percentile(slope[outside], 60)))) if outside.any() else outside
    if textured.sum() < 300:
        textured = outside
    shares = []
    for picture in pictures[1:]:
        gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
        gain = np.median(gray[outside] / np.maximum(reference[outside], 1.0))
        # half a pixel of shift along the slope still counts as still
        moved = np.abs(gray / max(float(gain), 1e-3) - reference) > 0.5 * slope + 2.5
        shares.append(1 - float(moved[textured].mean()))
    return float(np.median(shares)) if shares else 0.0
