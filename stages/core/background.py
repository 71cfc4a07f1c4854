"""Which pixels show the object, where nobody marked them: by depth, by alpha, or before a plain background."""

from __future__ import annotations

import cv2
import numpy as np

CRUMB_SHARE = 0.005
"""of the object's area: separate pieces, and holes, that are smaller are noise"""
BORDER_SHARE = 0.02
"""of the picture's side: the frame of pixels that is looked at for a plain background"""
PLAIN_SHARE = 0.85
"""of that frame must have the background's colour"""
LEAST_LEVELS, MOST_LEVELS = 12, 60
"""grey levels from the background's colour at least, and `NOISE` times its spread; between them, most of what parts the picture best"""
NOISE = 4.0


def alpha_from_depth(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at `size` (width, height): where `depth` (h, w), any unit, is above 0 and finite. Upscaled smoothly, crumbs removed."""
    there = (np.nan_to_num(depth) > 0).astype(np.float32)
    if there.shape[::-1] != tuple(size):
        enlarged = size[0] >= there.shape[1]
        there = cv2.resize(there, size, interpolation=cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA)
    return without_crumbs(there >= 0.5)


def without_crumbs(mask: np.ndarray, share: float = CRUMB_SHARE) -> np.ndarray:
    """(H, W) bool: separate pieces below `share` of the largest one's area removed, and holes below it filled."""
    kept = _large(mask, share * _largest(mask))
    return ~_large(~kept, share * _largest(kept))


def _largest(mask: np.ndarray) -> float:
    areas = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    return float(areas.max()) if len(areas) else 0.0


def _large(mask: np.ndarray, least: float) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= max(least, 1)
    keep[0] = False
    return keep[labels]


def plain_background(picture: np.ndarray) -> np.ndarray | None:
    """(H, W) bool object before a background of one colour, for (H, W, 3) uint8; None where the picture's border has no one colour."""
    h, w = picture.shape[:2]
    edge = max(2, round(BORDER_SHARE * max(h, w)))
    frame = np.ones((h, w), bool)
    frame[edge:-edge, edge:-edge] = False
    colours = picture[frame].astype(np.float32)
    middle = np.median(colours, 0)
    spread = 1.4826 * float(np.median(np.abs(colours - middle)))
    away = np.abs(picture.astype(np.float32) - middle).max(-1)
    parted = cv2.threshold(np.clip(away, 0, 255).astype(np.uint8), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0]
    # a stand or a shadow is dimmer than the object, and still not the background's colour
    limit = max(float(np.clip(0.8 * parted, LEAST_LEVELS, MOST_LEVELS)), NOISE * spread)
    if float((away[frame] < limit).mean()) < PLAIN_SHARE:
        return None
    off = away >= limit
    # shadows on the object are as dark as a dark background: what they cut into it is closed
    wide, narrow = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (k, k)) for k in (max(5, max(h, w) // 64) | 1, 5))
    closed = cv2.morphologyEx(off.astype(np.uint8), cv2.MORPH_CLOSE, wide)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, narrow) > 0
    found = without_crumbs(opened, 0.02)
    return found if found.any() else None


def with_alpha(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8: alpha 255 inside `mask`, 0 outside."""
    return np.dstack([picture, np.where(mask, np.uint8(255), np.uint8(0))])
