"""The colour head: geometry features, normal and viewing direction -> perceptron -> sigmoid.

Inputs (rows of a block): G geometry features, 3 components of the normal, 9 real spherical harmonics of the viewing direction up to
degree 2 (constants and order of tiny-cuda-nn's SphericalHarmonics of degree 3), then ones up to a multiple of four.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.surface import mlp
from stages.surface.hash_grid import BLOCK, FAST, ONE, ZERO

HARMONICS = 9
KERNEL = {"nogil": True, "cache": True, "fastmath": FAST, "error_model": "numpy"}
H0, H1, H2 = np.float32(0.28209479177387814), np.float32(0.48860251190291987), np.float32(1.0925484305920792)
H3, H4, H5 = np.float32(0.94617469575756008), np.float32(0.31539156525251999), np.float32(0.54627421529603959)


@njit(**KERNEL)
def fill_inputs(geo, normal, view, first, count, inputs, enc):
    """One block of inputs; rows past `count` repeat ones and zeros so that they stay finite."""
    features = geo.shape[0]
    for k in range(inputs * BLOCK):
        enc[k] = ONE
    for g in range(features):
        for p in range(BLOCK):
            enc[g * BLOCK + p] = geo[g, first + p] if p < count else ZERO
    base = features * BLOCK
    for p in range(count):
        for axis in range(3):
            enc[base + axis * BLOCK + p] = normal[first + p, axis]
        x, y, z = view[first + p, 0], view[first + p, 1], view[first + p, 2]
        at = base + 3 * BLOCK + p
        enc[at] = H0
        enc[at + BLOCK] = -H1 * y
        enc[at + 2 * BLOCK] = H1 * z
        enc[at + 3 * BLOCK] = -H1 * x
        enc[at + 4 * BLOCK] = H2 * x * y
        enc[at + 5 * BLOCK] = -H2 * y * z
        enc[at + 6 * BLOCK] = H3 * z * z - H4
        enc[at + 7 * BLOCK] = -H2 * x * z
        enc[at + 8 * BLOCK] = H5 * (x * x - y * y)


@njit(**KERNEL)
def colour(geo, normal, view, block_from, block_to, w, widths, enc, hidden, rgb):
    """`rgb (N, 3)` of a run of blocks; keeps inputs and activations for the backward pass."""
    out = np.empty(3 * BLOCK, np.float32)
    for block in range(block_from, block_to):
        first = block * BLOCK
        count = min(BLOCK, rgb.shape[0] - first)
        fill_inputs(geo, normal, view, first, count, widths[0], enc[block])
        mlp.forward(w, widths, enc[block], hidden[block], out, 3)
        for p in range(count):
            for channel in range(3):
                rgb[first + p, channel] = ONE / (ONE + np.exp(-out[channel * BLOCK + p]))


@njit(**KERNEL)
def colour_backward(rgb, d_rgb, block_from, block_to, w, widths, d_w, enc, hidden, d_geo, d_normal):
    """Adds to `d_w` and writes `d_geo (G, N)`, `d_normal (N, 3)`."""
    d_out, d_hidden, d_enc = np.zeros(3 * BLOCK, np.float32), np.empty(hidden.shape[1], np.float32), np.empty(enc.shape[1], np.float32)
    for block in range(block_from, block_to):
        first = block * BLOCK
        count = min(BLOCK, rgb.shape[0] - first)
        for channel in range(3):
            for p in range(BLOCK):
                d_out[channel * BLOCK + p] = ZERO
            for p in range(count):
                c = rgb[first + p, channel]
                d_out[channel * BLOCK + p] = d_rgb[first + p, channel] * c * (ONE - c)
        mlp.backward(w, widths, d_w, enc[block], hidden[block], d_out, 3, d_hidden, d_enc)
        for g in range(d_geo.shape[0]):
            for p in range(count):
                d_geo[g, first + p] = d_enc[g * BLOCK + p]
        for p in range(count):
            for axis in range(3):
                d_normal[first + p, axis] = d_enc[(d_geo.shape[0] + axis) * BLOCK + p]
