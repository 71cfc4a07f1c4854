"""The outline found at the working size, placed again on the full-size picture in a narrow band."""

from __future__ import annotations

import cv2
import numpy as np

from stages.masks.cut.outline import CutSettings, Window, fine_cut
from stages.masks.frame.working_frame import noise_level

MAX_RADIUS_PX = 32


def to_full_size(mask: np.ndarray, rgb: np.ndarray, cut: CutSettings) -> np.ndarray:
    """mask (h, w) bool at the working size -> (H, W) bool of the full picture rgb (H, W, 3)."""
    if mask.shape == rgb.shape[:2] or not mask.any():
        return cv2.resize(mask.astype(np.uint8), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
    factor = rgb.shape[1] / mask.shape[1]
    full = cv2.resize(mask.astype(np.float32), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_LINEAR) > 0.5
    window = Window.around(full, round(20 * factor))
    s = window.slices
    # the working outline is good to about a pixel of its own
    fine = CutSettings(
        cut.length,
        round(min(3 + 1.5 * factor, 10)),
        min(round(cut.local_radius_px * factor), MAX_RADIUS_PX),
        cut.coarse_px,
        cut.clip,
    )
    u = fine_cut(rgb[s], full[s], np.zeros(full[s].shape, np.float32), fine, max(1.5, noise_level(rgb[s])))
    out = full.copy()
    out[s] = u > 0.5
    return out
