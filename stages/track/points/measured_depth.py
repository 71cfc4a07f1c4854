"""The other eye of a frame whose depth was measured by a sensor: what a right picture would show is read off the depth at each point.

A local plane is fitted, so that the noise of one pixel does not count alone and the slope is known; a point beside an edge has no depth.
"""

from __future__ import annotations

import numba
import numpy as np

RADIUS = 3
"""px round a point whose depth counts"""
LEAST = 20
"""of these pixels that must have depth"""
OFF = 4.0
"""a plane that misses its pixels by more than this many sigma on average is no plane"""
CORRELATED = 6.0
"""neighbouring pixels err together: so many count as one"""


def read_depth(disparity: np.ndarray, sigma: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u_right (N,), slope of the disparity (N, 2) per px in x and y, sigma (N,) px at (N, 2) px; NaN where no plane is to be found."""
    u_right, slope, deviation = np.full(len(uv), np.nan), np.full((len(uv), 2), np.nan), np.full(len(uv), np.nan)
    maps = [np.ascontiguousarray(m, np.float32) for m in (disparity, sigma)]
    _read(*maps, np.ascontiguousarray(uv, np.float64), u_right, slope, deviation)
    return u_right, slope, deviation


@numba.njit(cache=True, nogil=True)
def _read(disparity, sigma, uv, u_right, slope, deviation):
    height, width = disparity.shape
    for i in range(len(uv)):
        if not (0 <= uv[i, 0] < width - 0.5 and 0 <= uv[i, 1] < height - 0.5):
            continue
        u, v = round(uv[i, 0]), round(uv[i, 1])
        A, b, count, noise = np.zeros((3, 3)), np.zeros(3), 0, 0.0
        for y in range(max(0, v - RADIUS), min(height, v + RADIUS + 1)):
            for x in range(max(0, u - RADIUS), min(width, u + RADIUS + 1)):
                d = disparity[y, x]
                if not np.isnan(d):
                    row = np.array([1.0, x - uv[i, 0], y - uv[i, 1]])
                    A += np.outer(row, row)
                    b += row * d
                    count += 1
                    noise += sigma[y, x]
        if count < LEAST or np.isnan(noise):
            continue
        plane, noise = np.linalg.solve(A + 1e-9 * np.eye(3), b), noise / count
        off = 0.0
        for y in range(max(0, v - RADIUS), min(height, v + RADIUS + 1)):
            for x in range(max(0, u - RADIUS), min(width, u + RADIUS + 1)):
                if not np.isnan(disparity[y, x]):
                    off += (disparity[y, x] - plane[0] - plane[1] * (x - uv[i, 0]) - plane[2] * (y - uv[i, 1])) ** 2
        off = np.sqrt(off / count)
        if off > OFF * noise or plane[0] <= 0:
            continue
        u_right[i], slope[i, 0], slope[i, 1] = uv[i, 0] - plane[0], plane[1], plane[2]
        deviation[i] = max(noise, off) * np.sqrt(CORRELATED / count)
