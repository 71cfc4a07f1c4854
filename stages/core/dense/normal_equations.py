"""One step of laying a surface onto another: which points meet it, and the normal equations of their disparities and grey values.

Two numba kernels: `_meet` lays the points into the other view and reads there, `_add_up` adds their equations. Between them the light of
the two pictures is brought together (gain and shift), which is a matter of a few sums. tests/core/test_normal_equations.py has the same in
plain numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np

LEAST_PAIRS = 100
GRAY_SIGMA = 12.0
"""grey levels: noise, and shading that changes as the object turns under a lamp"""
GAINS = (0.5, 2.0)
LEAST_SPREAD, LEAST_STD = 1.0, 0.5
"""grey levels that must differ before a gain, and a correlation, are asked for"""
X, Y, Z, PREDICTED, ERROR, SLOPE_X, SLOPE_Y, SIGMA, VALUE, VALUE_X, VALUE_Y, GRAY, COLUMNS = range(13)
"""columns of what `_meet` finds: xyz (m), the disparity that this predicts and how far it is from what is seen there, slopes and sigma
of what is seen, grey value and its slopes there, grey value of the point itself"""


@dataclass(frozen=True)
class System:
    """normal (6, 6) and gradient (6,) for a small turn (rad) about `centre` (3,) and a shift (m); the share of points that found a
    partner, and the correlation of the grey values."""

    normal: np.ndarray
    gradient: np.ndarray
    centre: np.ndarray
    paired: float
    correlation: float


@dataclass(frozen=True)
class Target:
    """The view that points are laid onto. camera (5,): fx, fy, cx, cy of the small picture in px, and the disparity in px of the
    full picture at one metre; seen (h, w, 4) float32: disparity (px of the full picture, NaN = none), its slopes, its sigma."""

    camera: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Points:
    """xyz (N, 3) float64, metres, and grey values (N,) float32 of the surface that is laid on; `room` (N, COLUMNS) is written to."""

    xyz: np.ndarray
    gray: np.ndarray
    room: np.ndarray


def linearise(target: Target, gray: np.ndarray, points: Points, motion: np.ndarray, gate: float) -> System | None:
    """Of points moved by `motion` (4, 4) to the view, whose grey values are `gray` (h, w) float32; None where too few meet it: their
    disparities differ by less than the share `gate`."""
    count = _meet(points.xyz, points.gray, motion, target.camera, target.seen, gray, gate, points.room)
    if count < LEAST_PAIRS:
        return None
    found = points.room[:count]
    gain, shift, correlation = _light(found[:, GRAY].copy(), found[:, VALUE].copy())
    centre = found[:, X : X + 3].mean(0)
    normal, gradient = np.zeros((6, 6)), np.zeros(6)
    _add_up(found, target.camera, centre, gain, shift, GRAY_SIGMA, normal, gradient)
    return System(normal, gradient, centre, count / len(points.xyz), correlation)


def _light(own: np.ndarray, there: np.ndarray) -> tuple[float, float, float]:
    """Gain and shift that bring the grey values of the points to those they fall on, and the correlation of the two."""
    a, b = own - own.mean(), there - there.mean()
    aa, ab, bb = (float(np.dot(p, q)) for p, q in ((a, a), (a, b), (b, b)))
    gain = float(np.clip(ab / aa, *GAINS)) if np.ptp(own) > LEAST_SPREAD else 1.0
    least = LEAST_STD**2 * len(own)
    correlation = ab / np.sqrt(aa * bb) if aa > least and bb > least else 0.0
    return gain, float(np.median(there - gain * own)), float(correlation)


@nb.njit(nogil=True, cache=True)
def _bilinear(image, x, y):
    """At px inside the picture."""
    i, j = int(np.floor(x)), int(np.floor(y))
    k, m = min(i + 1, image.shape[1] - 1), min(j + 1, image.shape[0] - 1)
    s, t = x - i, y - j
    above = image[j, i] * (1 - s) + image[j, k] * s
    below = image[m, i] * (1 - s) + image[m, k] * s
    return above * (1 - t) + below * t


@nb.njit(nogil=True, cache=True)
def _meet(xyz, gray, motion, camera, seen, image, gate, found):
    """Rows of `found` for the points that meet what is seen; how many."""
    height, width = image.shape
    count = 0
    for n in range(len(xyz)):
        x = motion[0, 0] * xyz[n, 0] + motion[0, 1] * xyz[n, 1] + motion[0, 2] * xyz[n, 2] + motion[0, 3]
        y = motion[1, 0] * xyz[n, 0] + motion[1, 1] * xyz[n, 1] + motion[1, 2] * xyz[n, 2] + motion[1, 3]
        z = motion[2, 0] * xyz[n, 0] + motion[2, 1] * xyz[n, 1] + motion[2, 2] * xyz[n, 2] + motion[2, 3]
        if not z > 0:
            continue
        u, v = camera[0] * x / z + camera[2], camera[1] * y / z + camera[3]
        if not (u > 1 and v > 1 and u < width - 2 and v < height - 2):
            continue
        i, j = int(np.rint(u)), int(np.rint(v))
        predicted = camera[4] / z
        error = predicted - (seen[j, i, 0] + seen[j, i, 1] * (u - i) + seen[j, i, 2] * (v - j))
        if not abs(error) < gate * predicted:  # NaN: nothing is seen there
            continue
        row = found[count]
        row[X], row[Y], row[Z], row[PREDICTED], row[ERROR] = x, y, z, predicted, error
        row[SLOPE_X], row[SLOPE_Y], row[SIGMA] = seen[j, i, 1], seen[j, i, 2], seen[j, i, 3]
        row[VALUE] = _bilinear(image, u, v)
        row[VALUE_X] = 0.5 * (_bilinear(image, u + 1, v) - _bilinear(image, u - 1, v))
        row[VALUE_Y] = 0.5 * (_bilinear(image, u, v + 1) - _bilinear(image, u, v - 1))
        row[GRAY] = gray[n]
        count += 1
    return count


@nb.njit(nogil=True, cache=True)
def _add_up(found, camera, centre, gain, shift, gray_sigma, normal, gradient):
    """Both equations of every row, with Cauchy weights, into `normal` and `gradient`, which are zero."""
    row = np.empty(6)
    for n in range(len(found)):
        x, y, z = found[n, X], found[n, Y], found[n, Z]
        ax, ay, az = x - centre[0], y - centre[1], z - centre[2]
        for kind in range(2):
            if kind == 0:
                along_u, along_v, along_z = -found[n, SLOPE_X], -found[n, SLOPE_Y], -found[n, PREDICTED] / z
                error, sigma = found[n, ERROR], found[n, SIGMA]
            else:
                along_u, along_v, along_z = found[n, VALUE_X], found[n, VALUE_Y], 0.0
                error, sigma = found[n, VALUE] - gain * found[n, GRAY] - shift, gray_sigma
            sx, sy = along_u * camera[0] / z, along_v * camera[1] / z
            sz = along_z - (sx * x + sy * y) / z
            row[0], row[1], row[2] = ay * sz - az * sy, az * sx - ax * sz, ax * sy - ay * sx
            row[3], row[4], row[5] = sx, sy, sz
            weight = 1 / (sigma**2 * (1 + (error / (2 * sigma)) ** 2))
            for i in range(6):
                gradient[i] += weight * error * row[i]
                for k in range(i, 6):
                    normal[i, k] += weight * row[i] * row[k]
    for i in range(6):
        for k in range(i):
            normal[i, k] = normal[k, i]
