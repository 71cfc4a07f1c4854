"""What a disparity of the thin plate is worth: its posterior standard deviation, without inverting the system.

On a homogeneous plane the plate's posterior variance has a closed form: the integral over all frequencies of 1 / (information +
stiffness |k|^4) is 1 / (8 sqrt(information * stiffness)), gathered from a radius of (stiffness / information)^(1/4) px. Information is
not homogeneous, so the formula is evaluated at every level of a pyramid, and each pixel takes the finest level at which its
surroundings hold enough information for that radius to fit. What lies between is interpolated, and a plate that is free over a radius
a has a variance of a^2 / (16 pi stiffness) in the middle: each empty level adds its share.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from stages.depth import thin_plate

_FREE = np.float32(0.75 / (16 * np.pi))
"""Variance times stiffness that one empty level adds in its own px: the sum over levels is that of a free disc reaching to the rim."""
_EMPTY = 1e-7
"""Information of nothing at all, 1/px^2: bounds the logarithm; the sigma it gives is far above any that is kept."""


@nb.njit(nogil=True, cache=True, fastmath=True)
def _blend(information, stiffness, coarse_log):
    """Log variance: the level's own formula where its radius fits, else the coarser level's."""
    h, w = information.shape
    out = np.empty((h, w), np.float32)
    for y in range(h):
        for x in range(w):
            info, k = information[y, x] + np.float32(_EMPTY), stiffness[y, x]
            own = -np.log(np.float32(8) * np.sqrt(info * k))
            share = info / (info + k / np.float32(16))  # 1 where the radius is far below 2 px of this level
            passed = np.log(np.exp(coarse_log[y, x]) + _FREE / k)
            out[y, x] = share * own + (np.float32(1) - share) * passed
    return out


def log_variance(
    information: np.ndarray, stiffness: np.ndarray, link_x: np.ndarray, link_y: np.ndarray, levels: int = 8
) -> np.ndarray:
    """(H, W) float32 information in 1/px^2 and local stiffness, links as in `thin_plate.solve` -> natural log of the variance, px^2."""
    if levels <= 1 or min(information.shape) < 8:
        own = -np.log(8 * np.sqrt((information.mean() + _EMPTY) * stiffness.mean()))
        return np.full(information.shape, own, np.float32)
    zero = np.zeros_like(information)
    _, info, lx, ly, whole = thin_plate.coarsen(zero, information, link_x, link_y)
    coarse = log_variance(info, thin_plate.halve(stiffness) / 4, lx, ly, levels=levels - 1)
    alone = -np.log(8 * np.sqrt((information + np.float32(_EMPTY)) * stiffness))
    return _blend(information, stiffness, thin_plate.prolong(coarse, whole, lx, ly, fine=alone))


def posterior_sigma(
    information: np.ndarray, stiffness: np.ndarray, link_x: np.ndarray, link_y: np.ndarray
) -> np.ndarray:
    """(H, W) float32 standard deviation in px that the plate model claims (still to be calibrated)."""
    return np.exp(0.5 * log_variance(information, stiffness, link_x, link_y))
