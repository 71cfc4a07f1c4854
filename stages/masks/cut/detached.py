"""Pieces of a mask that hang apart from the rest: the object's, which a finger parts, or a stranger that came as near."""

from __future__ import annotations

import cv2
import numpy as np

from stages.masks.cut.colour_model import likeness
from stages.masks.frame.working_frame import WorkingFrame

STRANGE = 0.35
"""Bhattacharyya coefficient of a piece's colours and the object's first ones, below which it is not the object's. On random and held
captures 29 of 47 false pieces are below (passers-by, other things), and 2 of 55 true ones (sides of a box that were not seen before)"""
LEAST_PX = 30
"""smaller pieces have too few colours to tell"""


def without_strangers(view: WorkingFrame, mask: np.ndarray, of_object: np.ndarray) -> np.ndarray:
    """(H, W) bool: the mask without detached pieces in other colours than the object's (counts `of_object`); the largest piece stays."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    out = mask
    for piece in range(1, count):
        if piece == largest or stats[piece, cv2.CC_STAT_AREA] < LEAST_PX:
            continue
        own = labels == piece
        if likeness(view.rgb, own, of_object) < STRANGE:
            out = out & ~own
    return out
