"""The colour head: geometry features, normal and viewing direction -> perceptron -> sigmoid.

Inputs (rows of a block): G geometry features, 3 components of the normal, 9 real spherical harmonics of the viewing direction up to
degree 2 (constants and order of tiny-cuda-nn's SphericalHarmonics of degree 3), then ones up to a multiple of four.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.core.field import mlp
from stages.core.field.hash_grid import BLOCK, KERNEL, ONE, R1, R2, R3, R4, R5, R6, R7, R8, ZERO

HARMONICS = 9
H0, H1, H2 = np.float32(0.28209479177387814), np.float32(0.48860251190291987), np.float32(1.0925484305920792)
H3, H4, H5 = np.float32(0.94617469575756008), np.float32(0.31539156525251999), np.float32(0.54627421529603959)


@njit(**KERNEL)
def fill_inputs(geo, normal, view, first, count, inputs, enc):
    """One block of inputs; rows past `count` repeat ones and zeros so that they stay finite."""
    features = geo.shape[0]
    for k in range(np.uint64(inputs * BLOCK)):
        enc[k] = ONE
    n, start = np.uint64(count), np.uint64(first)
    for g in range(features):
        row = np.uint64(g * BLOCK)
        for p in range(n):
            enc[row + p] = geo[g, start + p]
        for p in range(n, R1):
            enc[row + p] = ZERO
    base, at = np.uint64(features * BLOCK), np.uint64((features + 3) * BLOCK)
    for p in range(n):
        enc[base + p] = normal[start + p, 0]
        enc[base + R1 + p] = normal[start + p, 1]
        enc[base + R2 + p] = normal[start + p, 2]
    for p in range(n):
        x, y, z = view[start + p, 0], view[start + p, 1], view[start + p, 2]
        enc[at + p] = H0
        enc[at + R1 + p] = -H1 * y
        enc[at + R2 + p] = H1 * z
        enc[at + R3 + p] = -H1 * x
        enc[at + R4 + p] = H2 * x * y
        enc[at + R5 + p] = -H2 * y * z
        enc[at + R6 + p] = H3 * z * z - H4
        enc[at + R7 + p] = -H2 * x * z
        enc[at + R8 + p] = H5 * (x * x - y * y)


@njit(**KERNEL)
def colour(geo, normal, view, block_from, block_to, w, widths, enc, hidden, rgb):
    """`rgb (N, 3)` of a run of blocks; keeps inputs and activations for the backward pass."""
    out = np.empty(3 * BLOCK, np.float32)
    for block in range(block_from, block_to):
        first = block * BLOCK
        count = min(BLOCK, rgb.shape[0] - first)
        fill_inputs(geo, normal, view, first, count, widths[0], enc[block])
        mlp.forward(w, widths, enc[block], hidden[block], out, 3)
        for k in range(R3):
            out[k] = ONE / (ONE + np.exp(-out[k]))
        for p in range(np.uint64(count)):
            for channel in range(3):
                rgb[np.uint64(first) + p, channel] = out[np.uint64(channel * BLOCK) + p]


@njit(**KERNEL)
def colour_backward(rgb, d_rgb, block_from, block_to, w, widths, d_w, enc, hidden, d_geo, d_normal):
    """Adds to `d_w` and writes `d_geo (G, N)`, `d_normal (N, 3)`."""
    d_out, d_hidden, d_enc = (
        np.empty(3 * BLOCK, np.float32),
        np.empty(hidden.shape[1], np.float32),
        np.empty(enc.shape[1], np.float32),
    )
    for block in range(block_from, block_to):
        first, count = np.uint64(block * BLOCK), np.uint64(min(BLOCK, rgb.shape[0] - block * BLOCK))
        for k in range(R3):
            d_out[k] = ZERO
        for p in range(count):
            for channel in range(3):
                c = rgb[first + p, channel]
                d_out[np.uint64(channel * BLOCK) + p] = d_rgb[first + p, channel] * c * (ONE - c)
        mlp.backward(w, widths, d_w, enc[block], hidden[block], d_out, 3, d_hidden, d_enc)
        for g in range(d_geo.shape[0]):
            row = np.uint64(g * BLOCK)
            for p in range(count):
                d_geo[g, first + p] = d_enc[row + p]
        for axis in range(3):
            row = np.uint64((d_geo.shape[0] + axis) * BLOCK)
            for p in range(count):
                d_normal[first + p, axis] = d_enc[row + p]
