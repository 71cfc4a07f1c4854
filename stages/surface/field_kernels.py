"""The geometry network on runs of blocks: encode + perceptron + starting sphere forward, and the parts of its backward pass.

A tape's arrays by block: `xs (blocks, 3 * BLOCK)` clamped positions, `enc (blocks, inputs * BLOCK)` inputs of the perceptron, `hidden
(blocks, neurons * BLOCK)`. Inputs: two features a level, then 2 x - 1 (three rows), then ones. Output 0 is the network's share of the
signed distance, the others are the geometry features. `active (levels,)` float32 weights the levels (coarse to fine).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.surface import mlp
from stages.surface.hash_grid import (
    BLOCK,
    FEATURES,
    HALF,
    KERNEL,
    ONE,
    ZERO,
    add_position_gradient,
    interpolate,
    load_positions,
    locate,
    scatter,
)

TWO = np.float32(2)


@njit(**KERNEL)
def encode(x, block_from, block_to, grid, scale, resolution, offset, size, hashed, active, xs, enc):
    """Fill `xs` and `enc` of a run of blocks, level by level so that one level's table stays in the cache."""
    fraction, index = np.empty(3 * BLOCK, np.float32), np.empty(8 * BLOCK, np.uint32)
    levels = scale.size
    inputs = enc.shape[1] // BLOCK
    for block in range(block_from, block_to):
        load_positions(x, block * BLOCK, min(BLOCK, x.shape[0] - block * BLOCK), xs[block])
        for k in range(3 * BLOCK):
            enc[block, levels * FEATURES * BLOCK + k] = TWO * xs[block, k] - ONE
        for k in range((levels * FEATURES + 3) * BLOCK, inputs * BLOCK):
            enc[block, k] = ONE
    for level in range(levels):
        for block in range(block_from, block_to):
            if active[level] == ZERO:
                for k in range(level * FEATURES * BLOCK, (level + 1) * FEATURES * BLOCK):
                    enc[block, k] = ZERO
            else:
                locate(xs[block], scale[level], resolution[level], offset[level], size[level], hashed[level], fraction, index)
                interpolate(grid, fraction, index, active[level], enc[block], level * FEATURES)


@njit(**KERNEL)
def decode(x, block_from, block_to, w, widths, radius, enc, hidden, sdf, geo):
    """`sdf (N,)` and, if it has rows, `geo (G, N)` of a run of encoded blocks."""
    out_rows = 1 + geo.shape[0]
    out = np.empty(out_rows * BLOCK, np.float32)
    for block in range(block_from, block_to):
        mlp.forward(w, widths, enc[block], hidden[block], out, out_rows)
        first = block * BLOCK
        count = min(BLOCK, x.shape[0] - first)
        for p in range(count):
            a, b, c = x[first + p, 0] - HALF, x[first + p, 1] - HALF, x[first + p, 2] - HALF
            sdf[first + p] = out[p] + np.sqrt(a * a + b * b + c * c) - radius
        for g in range(geo.shape[0]):
            for p in range(count):
                geo[g, first + p] = out[(g + 1) * BLOCK + p]


@njit(**KERNEL)
def decode_backward(d_sdf, d_geo, block_from, block_to, w, widths, d_w, enc, hidden):
    """Adds to `d_w` (skipped if empty) and overwrites `enc` by its gradient."""
    out_rows = 1 + d_geo.shape[0]
    d_out = np.zeros(out_rows * BLOCK, np.float32)
    d_hidden, d_enc = np.empty(hidden.shape[1], np.float32), np.empty(enc.shape[1], np.float32)
    for block in range(block_from, block_to):
        first = block * BLOCK
        count = min(BLOCK, d_sdf.size - first)
        for r in range(out_rows):
            for p in range(count):
                d_out[r * BLOCK + p] = d_sdf[first + p] if r == 0 else d_geo[r - 1, first + p]
            for p in range(count, BLOCK):
                d_out[r * BLOCK + p] = ZERO
        mlp.backward(w, widths, d_w, enc[block], hidden[block], d_out, out_rows, d_hidden, d_enc)
        for k in range(d_enc.size):
            enc[block, k] = d_enc[k]


@njit(**KERNEL)
def scatter_level(level, points, scale, resolution, size, hashed, weight, xs, d_enc, grad, touched):
    """Adds all points' gradient to `grad (size, 2)` of one level. A level belongs to one thread, so the order of additions is fixed."""
    fraction, index = np.empty(3 * BLOCK, np.float32), np.empty(8 * BLOCK, np.uint32)
    for block in range(xs.shape[0]):
        locate(xs[block], scale, resolution, 0, size, hashed, fraction, index)
        scatter(grad, touched, fraction, index, weight, d_enc[block], level * FEATURES, min(BLOCK, points - block * BLOCK))


@njit(**KERNEL)
def position_gradient(x, d_sdf, block_from, block_to, grid, scale, resolution, offset, size, hashed, active, xs, d_enc, d_x):
    """`d_x (N, 3)` from the gradient of the encoding and of the starting sphere; 0 from the network outside the cube (clamped)."""
    fraction, index, d_xs = np.empty(3 * BLOCK, np.float32), np.empty(8 * BLOCK, np.uint32), np.empty(3 * BLOCK, np.float32)
    levels = scale.size
    for block in range(block_from, block_to):
        for k in range(3 * BLOCK):
            d_xs[k] = TWO * d_enc[block, levels * FEATURES * BLOCK + k]
        for level in range(levels):
            if active[level] != ZERO:
                locate(xs[block], scale[level], resolution[level], offset[level], size[level], hashed[level], fraction, index)
                add_position_gradient(grid, fraction, index, scale[level], active[level], d_enc[block], level * FEATURES, d_xs)
        first = block * BLOCK
        for p in range(min(BLOCK, x.shape[0] - first)):
            a, b, c = x[first + p, 0] - HALF, x[first + p, 1] - HALF, x[first + p, 2] - HALF
            pull = d_sdf[first + p] / max(np.sqrt(a * a + b * b + c * c), np.float32(1e-12))
            d_x[first + p, 0] = pull * a + (d_xs[p] if abs(a) <= HALF else ZERO)
            d_x[first + p, 1] = pull * b + (d_xs[BLOCK + p] if abs(b) <= HALF else ZERO)
            d_x[first + p, 2] = pull * c + (d_xs[2 * BLOCK + p] if abs(c) <= HALF else ZERO)
