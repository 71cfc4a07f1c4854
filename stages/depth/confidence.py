"""From what the plate model claims to what errors really are: the calibrated standard deviation."""

from __future__ import annotations

import numpy as np

FLOOR_PX = 0.05
SCALE = 2.5
POWER = 1.0
MISFIT_POWER = 0.0


def calibrated_sigma(plate_sigma_px: np.ndarray, misfit: np.ndarray) -> np.ndarray:
    """(H, W) float32 standard deviation of the disparity, px."""
    model = SCALE * plate_sigma_px**POWER * (1 + misfit) ** MISFIT_POWER
    return np.sqrt(FLOOR_PX**2 + model**2).astype(np.float32)
