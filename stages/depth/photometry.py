"""What the two pictures are worth: noise level, smooth interpolation along rows, and the brightness difference between the eyes."""

from __future__ import annotations

import numba as nb
import numpy as np

_POLE = np.float32(np.sqrt(3.0) - 2.0)


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the noise of an (H, W) picture, grey levels.

    Immerkaer, "Fast noise variance estimation" (1996), with the median over blocks instead of the mean over the picture, so that
    texture in less than half of the blocks does not count; at least half the rounding step of 8 bits.
    """
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(image.astype(np.float32), -1, kernel))
    blocks = cv2.resize(response, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)
    return max(float(np.median(blocks)) * np.sqrt(np.pi / 2) / 6.0, 0.3)


@nb.njit(nogil=True, cache=True, fastmath=True)
def spline_coefficients(image: np.ndarray) -> np.ndarray:
    """(H, W) float32 -> coefficients of the cubic B-spline through each row (Unser, "Splines", 1999, box 2), mirrored at the ends.

    Two recursions along x; rows are transposed in blocks so that the recursion runs over many rows at once as vector code.
    """
    h, w = image.shape
    c = np.ascontiguousarray(image.T)
    gain = np.float32(6.0)
    first = np.zeros(h, np.float32)
    factor = np.float32(1)
    for k in range(min(w, 16)):
        first += factor * c[k]
        factor *= _POLE
    c[0] = gain * first
    for x in range(1, w):
        before, row = c[x - 1], c[x]
        for y in range(h):
            row[y] = gain * row[y] + _POLE * before[y]
    end = np.float32(_POLE / (_POLE * _POLE - np.float32(1)))
    c[w - 1] = end * (c[w - 1] + _POLE * c[w - 2])
    for x in range(w - 2, -1, -1):
        after, row = c[x + 1], c[x]
        for y in range(h):
            row[y] = _POLE * (after[y] - row[y])
    return np.ascontiguousarray(c.T)


@nb.njit(nogil=True, cache=True, fastmath=True)
def spline_rows(coefficients: np.ndarray, disparity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and x derivatives of the row splines at x - disparity, float32 (H, W) each; NaN where that lies outside the picture."""
    h, w = disparity.shape
    value, slope = np.empty((h, w), np.float32), np.empty((h, w), np.float32)
    for y in range(h):
        c = coefficients[y]
        for x in range(w):
            position = np.float32(x) - disparity[y, x]
            if not 0 <= position <= w - 1:
                value[y, x] = np.nan
                slope[y, x] = np.nan
                continue
            i = min(int(position), w - 2)
            t = position - np.float32(i)
            s = np.float32(1) - t
            a, b, d, e = c[i - 1 if i > 0 else 1], c[i], c[i + 1], c[i + 2 if i + 2 < w else w - 2]
            near = (4 - 6 * t * t + 3 * t * t * t) * b + (4 - 6 * s * s + 3 * s * s * s) * d
            value[y, x] = np.float32(1 / 6) * (s * s * s * a + near + t * t * t * e)
            slope[y, x] = np.float32(0.5) * (-s * s * a + (3 * t * t - 4 * t) * b + (4 * s - 3 * s * s) * d + t * t * e)
    return value, slope
