"""Pictures of disparity and its standard deviation for the report."""

from __future__ import annotations

import cv2
import numpy as np


def colour_map(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W) values -> (H, W, 3) uint8 RGB, blue at `low`, red at `high`, dark grey where NaN."""
    share = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-6), 0, 1)
    coloured = cv2.cvtColor(cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    coloured[~np.isfinite(values)] = 40
    return coloured


def overview(left_rgb: np.ndarray, disparity_px: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """Left picture, disparity (2nd to 98th percentile) and sigma (logarithmic, 0.05 to 8 px) side by side; (H, 3 W, 3) uint8."""
    known = disparity_px[np.isfinite(disparity_px)]
    low, high = (np.percentile(known, 2), np.percentile(known, 98)) if known.size else (0.0, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_sigma = np.log(sigma_px)
    return np.hstack([left_rgb, colour_map(disparity_px, low, high), colour_map(log_sigma, np.log(0.05), np.log(8.0))])
