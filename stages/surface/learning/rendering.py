"""Volume rendering of rays with opacity, and its gradient by hand (NeuS, Wang et al. 2021, eq. 13), as kernels over runs of rays.

alpha_i = max(0, 1 - S(f_i+1) / S(f_i)), S the logistic function of steepness k; weight w_i = alpha_i prod_{j<i} (1 - alpha_j). Colour and
opacity are sums over the weights, not means: unlike volume_rendering.py, a ray may pass beside the object. Ratios of S are differences of
its logarithm, so that they are right far inside too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.core.field.hash_grid import KERNEL, ONE, ZERO

MOST_ALPHA = np.float32(0.9999)
STEEPEST = np.float32(30)


@njit(**KERNEL)
def _log_logistic(x):
    """(log S(x), 1 - S(x))."""
    x = min(max(x, -STEEPEST), STEEPEST)
    e = np.exp(-abs(x))
    log_one = np.log(ONE + e)
    return (-log_one, e / (ONE + e)) if x > ZERO else (x - log_one, ONE / (ONE + e))


@njit(**KERNEL)
def render(sdf, rgb, steepness, ray_from, ray_to, weight, colour, opacity):
    """`sdf (R, S)`, `rgb (R, S - 1, 3)` -> `weight (R, S - 1)`, `colour (R, 3)`, `opacity (R,)` of the rays from .. to."""
    for r in range(ray_from, ray_to):
        clear, red, green, blue = ONE, ZERO, ZERO, ZERO
        before, _ = _log_logistic(steepness * sdf[r, 0])
        for i in range(sdf.shape[1] - 1):
            after, _ = _log_logistic(steepness * sdf[r, i + 1])
            alpha = min(max(ONE - np.exp(after - before), ZERO), MOST_ALPHA)
            w = clear * alpha
            weight[r, i] = w
            red += w * rgb[r, i, 0]
            green += w * rgb[r, i, 1]
            blue += w * rgb[r, i, 2]
            clear *= ONE - alpha
            before = after
        colour[r, 0], colour[r, 1], colour[r, 2] = red, green, blue
        opacity[r] = ONE - clear


@njit(**KERNEL)
def render_backward(sdf, rgb, steepness, ray_from, ray_to, weight, d_colour, d_opacity, d_sdf, d_rgb):
    """From `d_colour (R, 3)`, `d_opacity (R,)`: `d_sdf (R, S)` and `d_rgb (R, S - 1, 3)` of the rays from .. to.

    The rays are walked from their far end: `later` is what follows an interval, as its own share of the loss.
    """
    last = sdf.shape[1] - 1
    for r in range(ray_from, ray_to):
        for i in range(last + 1):
            d_sdf[r, i] = ZERO
        later, clear_after = ZERO, ONE
        for i in range(last):
            clear_after -= weight[r, i]
        after, falling_after = _log_logistic(steepness * sdf[r, last])
        for i in range(last - 1, -1, -1):
            before, falling = _log_logistic(steepness * sdf[r, i])
            ratio = np.exp(after - before)
            w, gain = weight[r, i], d_opacity[r]
            for c in range(3):
                gain += d_colour[r, c] * rgb[r, i, c]
                d_rgb[r, i, c] = w * d_colour[r, c]
            alpha = ONE - ratio
            if ZERO < alpha < MOST_ALPHA:
                # d loss / d alpha = clear gain - later / ratio, d alpha = ratio (d log S_i - d log S_i+1), and clear = clear_after / ratio
                pull = (max(clear_after, ZERO) * gain - later) * steepness
                d_sdf[r, i] += pull * falling
                d_sdf[r, i + 1] -= pull * falling_after
            later += w * gain
            clear_after += w
            after, falling_after = before, falling
