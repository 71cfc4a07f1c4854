"""From the candidates of a texel to its colour: outliers out, coarse colour from all, fine detail mostly from the best view.

Two bands (Burt and Adelson 1983): the low band of every picture is averaged with wide weights, which hides seams; the rest, weighted
by a power of the view's quality, keeps print sharp where poses or shape are off by a fraction of a pixel.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def blend(weight, colour, low, power, outlier_scale, noise_floor, out, used):
    """weight (N, K) float32 (0 = no candidate), colour and low (N, K, 3) uint8 -> out (N, 3) float32, used (N,) uint8, in place.

    `used` counts the candidates that kept at least a quarter of their weight; 0 = no candidate at all (out is left alone).
    """
    kmax = weight.shape[1]
    trust = np.empty(kmax, np.float64)
    for n in range(weight.shape[0]):
        best = np.float64(0)
        for k in range(kmax):
            best = max(best, weight[n, k])
        if best <= 0:
            used[n] = 0
            continue
        _robust_trust(weight[n], colour[n], outlier_scale, noise_floor, trust)
        count, wide, narrow = 0, 0.0, 0.0
        coarse, fine = np.zeros(3), np.zeros(3)
        for k in range(kmax):
            if weight[n, k] <= 0:
                continue
            share = weight[n, k] / best
            a, b = share * trust[k], share**power * trust[k]
            count += 1 if trust[k] > 0.25 else 0
            wide += a
            narrow += b
            for c in range(3):
                coarse[c] += a * low[n, k, c]
                fine[c] += b * (np.float64(colour[n, k, c]) - low[n, k, c])
        used[n] = max(count, 1)
        for c in range(3):
            out[n, c] = min(max(coarse[c] / wide + fine[c] / narrow, 0.0), 255.0)


@numba.njit(cache=True, nogil=True)
def _robust_trust(weight, colour, outlier_scale, noise_floor, trust):
    """trust (K,): 1 / (1 + x^4), x = distance to the median colour in `outlier_scale` robust standard deviations."""
    kmax = weight.shape[0]
    values, count = np.empty(kmax), 0
    centre = np.empty(3)
    for c in range(3):
        count = 0
        for k in range(kmax):
            if weight[k] > 0:
                values[count] = colour[k, c]
                count += 1
        centre[c] = _median(values, count)
    count = 0
    for k in range(kmax):
        trust[k] = 0.0
        if weight[k] > 0:
            far = 0.0
            for c in range(3):
                far = max(far, abs(colour[k, c] - centre[c]))
            trust[k] = far
            values[count] = far
            count += 1
    scale = outlier_scale * max(noise_floor, 1.4826 * _median(values, count))
    for k in range(kmax):
        trust[k] = 1.0 / (1.0 + (trust[k] / scale) ** 4)


@numba.njit(cache=True, nogil=True)
def _median(values, count):
    """Median of the first `count` values, which are left sorted (insertion sort: there are at most a few dozen)."""
    for i in range(1, count):
        x, j = values[i], i - 1
        while j >= 0 and values[j] > x:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = x
    return 0.5 * (values[(count - 1) // 2] + values[count // 2])
