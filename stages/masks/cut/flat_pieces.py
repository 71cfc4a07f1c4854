"""Pieces of a mask that lie flat on what the object stands on, apart from it: a patch printed on the table that has the object's colours.

Seen together with the object in the first frame it is taken for a part of it, and as it keeps still like the object, no later frame denies
it. But the object stands off its support, and is one piece unless something hides its middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

ON_IT_SIGMAS, ON_IT_SHARE = 3.0, 0.7
"""a disparity lies on a surface within so many standard deviations; a piece does when so large a share of it and of its rim does"""
RIM_PX, LEAST_KNOWN = 5, 30
"""the rim counts too, as a bare patch has no depth of its own; fewer known disparities tell nothing"""


def without_flat_pieces(
    mask: np.ndarray, disparity: np.ndarray, sigma: np.ndarray, surfaces: Sequence[tuple[np.ndarray, float]]
) -> np.ndarray:
    """The (H, W) bool mask with all but its largest piece asked; `surfaces`: the (H, W) disparity of each, px, and its scatter."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2 or not surfaces:
        return mask
    on_any = np.zeros(mask.shape, bool)
    with np.errstate(invalid="ignore"):
        for there, scatter in surfaces:
            on_any |= np.abs(disparity - there) < ON_IT_SIGMAS * np.hypot(sigma, scatter)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    out = mask.copy()
    for k in set(range(1, count)) - {largest}:
        x, y, w, h = stats[k, :4]
        s = np.s_[max(0, y - RIM_PX) : y + h + RIM_PX, max(0, x - RIM_PX) : x + w + RIM_PX]
        piece = label[s] == k
        asked = cv2.dilate(piece.astype(np.uint8), np.ones((2 * RIM_PX + 1, 2 * RIM_PX + 1), np.uint8)) > 0
        asked &= np.isfinite(disparity[s]) & ((label[s] == 0) | piece)
        if asked.sum() >= LEAST_KNOWN and on_any[s][asked].mean() >= ON_IT_SHARE:
            out[s] &= ~piece
    return out
