"""Pictures drawn through maps that say where each pixel comes from."""

from __future__ import annotations

import cv2
import numpy as np


def not_seen(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) bool: where the maps x and y (H, W) lead outside a picture of `size` (width, height) px; None = nowhere."""
    outside = (x < -0.5) | (y < -0.5) | (x > size[0] - 0.5) | (y > size[1] - 0.5)
    return outside if outside.any() else None


def resampled(
    picture: np.ndarray, maps: tuple[np.ndarray, np.ndarray], outside: np.ndarray | None, interpolation: int
) -> np.ndarray:
    """(h, w[, C]) through the maps, in cv2's float or fixed-point form; 0 where `outside` says that nothing was seen."""
    out = cv2.remap(picture, *maps, interpolation, borderMode=cv2.BORDER_REPLICATE)
    if outside is not None:
        out[outside] = 0
    return out
