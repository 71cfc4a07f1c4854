"""Sub-pixel alignment of small windows: numba kernels.

`align` is the inverse compositional Lucas-Kanade method (Baker & Matthews 2004) for an affine warp with gain and offset removed by
normalising both windows, i.e. least-squares matching (Gruen 1985). Pictures are float32, sampled with the Catmull-Rom cubic.
A warp is (6,): [a11, a12, a21, a22, u, v]; window coordinates x map to pixel (u, v) + A x.
"""

from __future__ import annotations

import math

import numba
import numpy as np

RADIUS = 7
"""half width of the window in samples: 15 x 15"""
SIZE = 2 * RADIUS + 1
SAMPLES = SIZE * SIZE
FEW_STEPS, STEPS = np.int64(6), np.int64(12)
"""of `align`, for a start and for the result"""
_FAILED = -1.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _cubic(t: float) -> tuple[float, float, float, float]:
    t2 = t * t
    t3 = t2 * t
    return -0.5 * t + t2 - 0.5 * t3, 1 - 2.5 * t2 + 1.5 * t3, 0.5 * t + 2 * t2 - 1.5 * t3, -0.5 * t2 + 0.5 * t3


@numba.njit(cache=True, nogil=True, fastmath=True)
def sample_window(image: np.ndarray, warp: np.ndarray, out: np.ndarray) -> bool:
    """Fill `out` (SAMPLES,) with the window under `warp`; False if it leaves the picture."""
    height, width = image.shape
    reach_u = RADIUS * (abs(warp[0]) + abs(warp[1]))
    reach_v = RADIUS * (abs(warp[2]) + abs(warp[3]))
    if not (
        warp[4] - reach_u >= 1
        and warp[5] - reach_v >= 1
        and warp[4] + reach_u < width - 2
        and warp[5] + reach_v < height - 2
    ):
        return False
    k = 0
    for y in range(-RADIUS, RADIUS + 1):
        for x in range(-RADIUS, RADIUS + 1):
            u = warp[4] + warp[0] * x + warp[1] * y
            v = warp[5] + warp[2] * x + warp[3] * y
            iu, iv = math.floor(u), math.floor(v)
            a0, a1, a2, a3 = _cubic(u - iu)
            b0, b1, b2, b3 = _cubic(v - iv)
            total = 0.0
            for j in range(4):
                b = b0 if j == 0 else b1 if j == 1 else b2 if j == 2 else b3
                row = image[iv - 1 + j]
                total += b * (a0 * row[iu - 1] + a1 * row[iu] + a2 * row[iu + 1] + a3 * row[iu + 2])
            out[k] = total
            k += 1
    return True


@numba.njit(cache=True, nogil=True)
def _normalise(window: np.ndarray, weight: np.ndarray) -> float:
    """Subtract the weighted mean and divide by the weighted standard deviation, in place; returns that deviation."""
    mean = 0.0
    for k in range(SAMPLES):
        mean += weight[k] * window[k]
    spread = 0.0
    for k in range(SAMPLES):
        window[k] -= mean
        spread += weight[k] * window[k] * window[k]
    spread = math.sqrt(spread)
    if spread > 1e-6:
        for k in range(SAMPLES):
            window[k] /= spread
    return spread


@numba.njit(cache=True, nogil=True)
def gaussian_weight() -> np.ndarray:
    """(SAMPLES,) weights that sum to 1 and fall off towards the border."""
    weight = np.empty(SAMPLES)
    k, total = 0, 0.0
    for y in range(-RADIUS, RADIUS + 1):
        for x in range(-RADIUS, RADIUS + 1):
            weight[k] = math.exp(-0.5 * (x * x + y * y) / (0.55 * RADIUS) ** 2)
            total += weight[k]
            k += 1
    return weight / total


@numba.njit(cache=True, nogil=True)
def _steepest(
    template: np.ndarray, free: np.ndarray, weight: np.ndarray, jacobian: np.ndarray, normal: np.ndarray
) -> None:
    """Jacobian (SAMPLES, 6) of the template under the warp's increment, and its weighted normal matrix; held parameters get 1."""
    for y in range(SIZE):
        for x in range(SIZE):
            k = y * SIZE + x
            gx = 0.5 * (template[k + 1] - template[k - 1]) if 0 < x < SIZE - 1 else 0.0
            gy = 0.5 * (template[k + SIZE] - template[k - SIZE]) if 0 < y < SIZE - 1 else 0.0
            px, py = x - RADIUS, y - RADIUS
            jacobian[k, 0], jacobian[k, 1], jacobian[k, 2], jacobian[k, 3] = gx * px, gx * py, gy * px, gy * py
            jacobian[k, 4], jacobian[k, 5] = gx, gy
    normal[:] = 0
    for k in range(SAMPLES):
        for i in range(6):
            for j in range(6):
                normal[i, j] += weight[k] * jacobian[k, i] * jacobian[k, j]
    for i in range(6):
        # a weak prior (in units of window samples) keeps the affine part from running away where the window is nearly flat
        normal[i, i] += 1e-3 if i < 4 else 1e-6
        if not free[i]:
            normal[i, :] = 0
            normal[:, i] = 0
            normal[i, i] = 1


@numba.njit(cache=True, nogil=True)
def _compose_inverse(warp: np.ndarray, step: np.ndarray) -> None:
    """warp <- warp o (1 + step)^-1, in place."""
    d11, d12, d21, d22 = 1 + step[0], step[1], step[2], 1 + step[3]
    det = d11 * d22 - d12 * d21
    i11, i12, i21, i22 = d22 / det, -d12 / det, -d21 / det, d11 / det
    tu, tv = -(i11 * step[4] + i12 * step[5]), -(i21 * step[4] + i22 * step[5])
    a11, a12, a21, a22 = warp[0], warp[1], warp[2], warp[3]
    warp[4] += a11 * tu + a12 * tv
    warp[5] += a21 * tu + a22 * tv
    warp[0], warp[1] = a11 * i11 + a12 * i21, a11 * i12 + a12 * i22
    warp[2], warp[3] = a21 * i11 + a22 * i21, a21 * i12 + a22 * i22


@numba.njit(cache=True, nogil=True)
def align(
    template: np.ndarray, image: np.ndarray, warp: np.ndarray, free: np.ndarray, max_shift: float, iterations: int
) -> tuple[float, float]:
    """Move `warp` (in place) so that the picture under it looks like `template` (SAMPLES,) float64.

    `free` (6,) bool names the parameters that may move (in window coordinates). Returns (correlation, sigma): the weighted normalised
    correlation (-1 when the window left the picture, moved more than `max_shift` px or is flat) and the standard deviation of the
    position in px that the residual and the window's texture imply.
    """
    weight = gaussian_weight()
    reference = template.copy()
    if _normalise(reference, weight) < 0.5:
        return _FAILED, np.inf
    jacobian, normal, window, right = np.empty((SAMPLES, 6)), np.empty((6, 6)), np.empty(SAMPLES), np.empty(6)
    _steepest(reference, free, weight, jacobian, normal)
    inverse = np.linalg.inv(normal)
    start_u, start_v = warp[4], warp[5]
    error = 0.0
    for _ in range(iterations):
        if not sample_window(image, warp, window) or _normalise(window, weight) < 0.5:
            return _FAILED, np.inf
        right[:] = 0
        error = 0.0
        for k in range(SAMPLES):
            e = window[k] - reference[k]
            error += weight[k] * e * e
            for i in range(6):
                right[i] += weight[k] * jacobian[k, i] * e
        for i in range(6):
            if not free[i]:
                right[i] = 0
        step = inverse @ right
        # one step never turns the window inside out
        size = max(abs(step[0]), abs(step[1]), abs(step[2]), abs(step[3]))
        if size > 0.3:
            step *= 0.3 / size
        _compose_inverse(warp, step)
        if math.hypot(warp[4] - start_u, warp[5] - start_v) > max_shift:
            return _FAILED, np.inf
        if step[4] ** 2 + step[5] ** 2 < 1e-6:
            break
    scale = math.sqrt(abs(warp[0] * warp[3] - warp[1] * warp[2]))
    # weights sum to 1: `error` is a mean over about a third of the samples, which is what counts as independent
    sigma = math.sqrt(error * (inverse[4, 4] * free[4] + inverse[5, 5] * free[5]) / (0.3 * SAMPLES)) * scale
    return 1 - 0.5 * error, sigma
