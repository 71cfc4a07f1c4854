"""Volume rendering of packed samples, and its gradient by hand (Mildenhall et al. 2020, eq. 3), as kernels over runs of rays.

A ray's samples lie one after another, `count` of them from `start` on, all a `step` of the cube apart. Density is exp of the network's
output; alpha = 1 - exp(-density step), weight = alpha prod of (1 - alpha) before. What passes all of them shows the background.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.core.field.hash_grid import HALF, KERNEL, ONE, ZERO

MOST_LOG = np.float32(11)
"""of a density: opaque within any step"""
LEAST_LOG = np.float32(-15)


@njit(**KERNEL)
def density_of(output, x, y, z):
    """exp of the field's output without its starting sphere."""
    x, y, z = x - HALF, y - HALF, z - HALF
    return np.exp(min(max(output - np.sqrt(x * x + y * y + z * z), LEAST_LOG), MOST_LOG))


@njit(**KERNEL)
def densities(output, at):
    """(N,) of (N,) outputs at (N, 3) places."""
    out = np.empty(output.size, np.float32)
    for p in range(output.size):
        out[p] = density_of(output[p], at[p, 0], at[p, 1], at[p, 2])
    return out


@njit(**KERNEL)
def compose(output, at, along, rgb, start, count, first, last, step, background, colour, opacity, depth):
    """`colour (R, 3)` over the `background (R, 3)`, `opacity (R,)`, `depth (R,)` where half of the light is stopped (NaN: never)."""
    for r in range(first, last):
        clear, red, green, blue = ONE, ZERO, ZERO, ZERO
        depth[r] = np.nan
        for i in range(start[r], start[r] + count[r]):
            alpha = ONE - np.exp(-step * density_of(output[i], at[i, 0], at[i, 1], at[i, 2]))
            w = clear * alpha
            red += w * rgb[i, 0]
            green += w * rgb[i, 1]
            blue += w * rgb[i, 2]
            after = clear * (ONE - alpha)
            if clear > HALF and after <= HALF:
                depth[r] = along[i]
            clear = after
        opacity[r] = ONE - clear
        colour[r, 0] = red + clear * background[r, 0]
        colour[r, 1] = green + clear * background[r, 1]
        colour[r, 2] = blue + clear * background[r, 2]


@njit(**KERNEL)
def compose_backward(output, at, rgb, start, count, first, last, step, background, colour, d_colour, d_output, d_rgb):
    """From `d_colour (R, 3)` and the composed `colour (R, 3)`: `d_output (N,)`, `d_rgb (N, 3)` of the rays first .. last.

    d colour / d density_i = step (clear after i * rgb_i - what is added after i), and that is what the whole colour has not shown by i.
    """
    for r in range(first, last):
        clear, red, green, blue = ONE, ZERO, ZERO, ZERO
        for i in range(start[r], start[r] + count[r]):
            density = density_of(output[i], at[i, 0], at[i, 1], at[i, 2])
            passed = np.exp(-step * density)
            w = clear * (ONE - passed)
            clear *= passed
            red += w * rgb[i, 0]
            green += w * rgb[i, 1]
            blue += w * rgb[i, 2]
            d_rgb[i, 0], d_rgb[i, 1], d_rgb[i, 2] = w * d_colour[r, 0], w * d_colour[r, 1], w * d_colour[r, 2]
            gain = (
                d_colour[r, 0] * (clear * rgb[i, 0] - (colour[r, 0] - red))
                + d_colour[r, 1] * (clear * rgb[i, 1] - (colour[r, 1] - green))
                + d_colour[r, 2] * (clear * rgb[i, 2] - (colour[r, 2] - blue))
            )
            d_output[i] = gain * step * density
