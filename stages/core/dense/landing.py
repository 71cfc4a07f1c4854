"""Where points fall in a frame, and whether they lie on what it sees there: a numba kernel, as 30,000 points at a time are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np

LEAST_OFF_SHARE, SIGMAS = 0.03, 4.0
"""a point is on the seen surface while their disparities differ by less than the larger of so large a share and so many sigmas"""
UNKNOWN, ON, IN_FRONT, HIDDEN, UNSURE = 0, 1, 2, 3, 4
"""no depth; on the seen surface, in front of it, behind it; a depth of unknown sigma"""


@dataclass(frozen=True)
class Landing:
    """Points laid into a frame: `seen` (M,) which of them fall into the picture, `at` their pixels (row, column); per seen point (M,) bool:
    on the seen surface, in front of it, hidden behind it (all False without depth), and whether there is depth."""

    seen: np.ndarray
    at: tuple[np.ndarray, np.ndarray]
    on: np.ndarray
    in_front: np.ndarray
    hidden: np.ndarray
    known: np.ndarray


def landing(xyz: np.ndarray, camera: np.ndarray, disparity: np.ndarray, sigma: np.ndarray) -> Landing:
    """Of points (N, 3) in metres; camera (6,): fx, fy, cx, cy, focal length times baseline, px of `disparity` in one px of the picture;
    disparity and its sigma (h, w) float32, NaN = none."""
    where, said = np.empty((3, len(xyz)), np.int64), np.empty(len(xyz), np.uint8)
    count = _land(np.ascontiguousarray(xyz, np.float64), camera, disparity, sigma, where, said)
    (seen, row, column), said = where[:, :count], said[:count]
    return Landing(seen, (row, column), said == ON, said == IN_FRONT, said == HIDDEN, said != UNKNOWN)


@nb.njit(nogil=True, cache=True)
def _land(xyz, camera, disparity, sigma, where, said):
    """Number, row and column, and what is seen there, of the points that fall into the picture; how many."""
    height, width = disparity.shape
    count = 0
    for n in range(len(xyz)):
        z = xyz[n, 2]
        if not z > 0:
            continue
        u = camera[0] * xyz[n, 0] / z + camera[2]
        v = camera[1] * xyz[n, 1] / z + camera[3]
        if not (u > -0.5 and v > -0.5 and u < width - 0.5 and v < height - 0.5):
            continue
        i, j = int(np.rint(u)), int(np.rint(v))
        predicted = camera[4] / z * camera[5]
        off = predicted - disparity[j, i]
        tolerance = SIGMAS * sigma[j, i]
        if tolerance < LEAST_OFF_SHARE * predicted:
            tolerance = LEAST_OFF_SHARE * predicted
        if not np.isfinite(disparity[j, i]):
            said[count] = UNKNOWN
        elif abs(off) <= tolerance:
            said[count] = ON
        elif off > tolerance:
            said[count] = IN_FRONT
        elif off < -tolerance:
            said[count] = HIDDEN
        else:
            said[count] = UNSURE
        where[0, count], where[1, count], where[2, count] = n, j, i
        count += 1
    return count
