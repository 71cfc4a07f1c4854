"""Where exactly one surface ends and the next begins.

Matching windows straddle depth edges, so a surface in front swells by some pixels. Near every depth edge each pixel therefore chooses
again, between the disparity in front and the one behind, by colours compared pixel by pixel and gathered over neighbours of similar
colour only (adaptive support weights, Yoon and Kweon, PAMI 2006).
"""

from __future__ import annotations

import cv2
import numba as nb
import numpy as np

_TRUNCATION = np.float32(45)
"""Sum over three channels of the colour difference above which a pixel is simply wrong, grey levels."""
_UNSEEN = np.float32(24)
"""Cost of matching something that the other eye cannot see: worse than a match, better than a mismatch."""


@nb.njit(nogil=True, cache=True, fastmath=True)
def _cost(left, right, x, y, disparity, radius, gamma, nearest):
    """Mean truncated colour difference round (x, y) at one disparity, weighted by similarity of colour to (x, y)."""
    h, w = nearest.shape
    total = weights = np.float32(0)
    d = int(np.rint(disparity))
    for b in range(max(y - radius, 0), min(y + radius + 1, h)):
        for a in range(max(x - radius, 0), min(x + radius + 1, w)):
            difference = np.float32(0)
            for c in range(3):
                difference += abs(left[b, a, c] - left[y, x, c])
            weight = np.exp(-difference / gamma - np.float32((a - x) ** 2 + (b - y) ** 2) / np.float32(radius * radius))
            if weight < np.float32(0.02):
                continue
            if not 0 <= a - d < w or nearest[b, a - d] > disparity + np.float32(2):
                cost = _UNSEEN
            else:
                cost = np.float32(0)
                for c in range(3):
                    cost += abs(left[b, a, c] - right[b, a - d, c])
                cost = min(cost, _TRUNCATION)
            total += weight * cost
            weights += weight
    return total / weights


@nb.njit(nogil=True, cache=True)
def nearest_in_right(disparity: np.ndarray) -> np.ndarray:
    """(H, W) greatest left disparity that lands on each pixel of the right picture, -1 where none does."""
    h, w = disparity.shape
    out = np.full((h, w), np.float32(-1))
    for y in range(h):
        for x in range(w):
            position = int(np.rint(x - disparity[y, x]))
            if 0 <= position < w:
                out[y, position] = max(out[y, position], disparity[y, x])
    return out


@nb.njit(nogil=True, cache=True)
def _choose(left, right, disparity, front, behind, nearest, jump, radius, gamma):
    h, w = disparity.shape
    out = disparity.copy()
    for y in range(h):
        for x in range(w):
            f, b = front[y, x], behind[y, x]
            if f - b < jump:
                continue
            is_front = f - disparity[y, x] < disparity[y, x] - b
            if is_front:
                f = disparity[y, x]
            else:
                b = disparity[y, x]
            cost_front = _cost(left, right, x, y, f, radius, gamma, nearest)
            cost_behind = _cost(left, right, x, y, b, radius, gamma, nearest)
            if is_front and cost_behind < np.float32(0.9) * cost_front:
                out[y, x] = b
            elif not is_front and cost_front < np.float32(0.9) * cost_behind:
                out[y, x] = f
    return out


def sharpen_depth_edges(
    left: np.ndarray,
    right: np.ndarray,
    disparity: np.ndarray,
    supported: np.ndarray,
    jump_px: float,
    radius: int = 3,
    gamma: float = 25.0,
) -> np.ndarray:
    """(H, W, 3) float32 pictures of equal brightness, (H, W) float32 disparities -> disparities with depth edges where colours put them.

    Both sides of an edge are read from `supported` (H, W) pixels only: beside a blank wall there is nothing to choose between.
    """
    size = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    front = cv2.dilate(np.where(supported, disparity, np.float32(-1e6)), size)
    behind = cv2.erode(np.where(supported, disparity, np.float32(1e6)), size)
    out = _choose(
        left,
        right,
        disparity,
        front,
        behind=behind,
        nearest=nearest_in_right(disparity),
        jump=np.float32(jump_px),
        radius=radius,
        gamma=np.float32(gamma),
    )
    return cv2.medianBlur(out, 5)
