"""The geometry network on runs of blocks: encode + perceptron + starting sphere forward, and the parts of its backward pass.

A tape's arrays by block: `xs (blocks, 3 * BLOCK)` clamped positions, `enc (blocks, inputs * BLOCK)` inputs of the perceptron, `hidden
(blocks, neurons * BLOCK)`. Inputs: two features a level, then 2 x - 1 (three rows), then ones. Output 0 is the network's share of the
signed distance, the others are the geometry features. `active (levels,)` float32 weights the levels (coarse to fine).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.core.field import mlp
from stages.core.field.hash_grid import (
    BLOCK,
    FEATURES,
    HALF,
    KERNEL,
    ONE,
    ZERO,
    add_position_gradient,
    fetch_corners,
    interpolate,
    load_positions,
    locate,
    scatter,
)

TWO = np.float32(2)


@njit(**KERNEL)
def prepare(x, block_from, block_to, levels, xs, enc):
    """Fill `xs` and the rows of `enc` above the grid's features."""
    for block in range(block_from, block_to):
        load_positions(x, block * BLOCK, min(BLOCK, x.shape[0] - block * BLOCK), xs[block])
        for k in range(3 * BLOCK):
            enc[block, levels * FEATURES * BLOCK + k] = TWO * xs[block, k] - ONE
        for k in range((levels * FEATURES + 3) * BLOCK, enc.shape[1]):
            enc[block, k] = ONE


@njit(**KERNEL)
def encode_level(level, block_from, block_to, table, scale, resolution, size, hashed, weight, xs, enc):
    """Rows of one level for a run of blocks. `table (size, 2)` is that level's; all points visit it before the next level's turn."""
    fraction, index = np.empty((2, 3 * BLOCK), np.float32), np.empty((2, 8 * BLOCK), np.uint32)
    locate(xs[block_from], scale, resolution, size, hashed, fraction[0], index[0])
    for block in range(block_from, block_to):
        now, then = (block - block_from) & 1, (block - block_from + 1) & 1
        if block + 1 < block_to:
            locate(xs[block + 1], scale, resolution, size, hashed, fraction[then], index[then])
            fetch_corners(table, index[then])
        interpolate(table, fraction[now], index[now], weight, enc[block], level * FEATURES)


@njit(**KERNEL)
def decode(x, block_from, block_to, w, widths, radius, enc, hidden, sdf, geo):
    """`sdf (N,)` and, if it has rows, `geo (G, N)` of a run of encoded blocks."""
    out_rows = 1 + geo.shape[0]
    out = np.empty(out_rows * BLOCK, np.float32)
    for block in range(block_from, block_to):
        mlp.forward(w, widths, enc[block], hidden[block], out, out_rows)
        first, count = np.uint64(block * BLOCK), np.uint64(min(BLOCK, x.shape[0] - block * BLOCK))
        for p in range(count):
            a, b, c = x[first + p, 0] - HALF, x[first + p, 1] - HALF, x[first + p, 2] - HALF
            sdf[first + p] = out[p] + np.sqrt(a * a + b * b + c * c) - radius
        for g in range(geo.shape[0]):
            row = np.uint64((g + 1) * BLOCK)
            for p in range(count):
                geo[g, first + p] = out[row + p]


@njit(**KERNEL)
def decode_backward(d_sdf, d_geo, block_from, block_to, w, widths, d_w, enc, hidden, d_enc):
    """Adds to `d_w` (skipped if empty) and writes the gradient of `enc`, which may be `enc` itself, into `d_enc`."""
    out_rows = 1 + d_geo.shape[0]
    d_out = np.zeros(out_rows * BLOCK, np.float32)
    d_hidden, d_input = np.empty(hidden.shape[1], np.float32), np.empty(enc.shape[1], np.float32)
    for block in range(block_from, block_to):
        load_output_gradient(d_sdf, d_geo, block, d_out)
        mlp.backward(w, widths, d_w, enc[block], hidden[block], d_out, out_rows, d_hidden, d_input)
        for k in range(np.uint64(d_input.size)):
            d_enc[block, k] = d_input[k]


@njit(**KERNEL)
def load_output_gradient(d_sdf, d_geo, block, d_out):
    """Rows of d loss / d output of a block, 0 past the last point."""
    first, count = np.uint64(block * BLOCK), np.uint64(min(BLOCK, d_sdf.size - block * BLOCK))
    for k in range(np.uint64(d_out.size)):
        d_out[k] = ZERO
    for p in range(count):
        d_out[p] = d_sdf[first + p]
    for g in range(d_geo.shape[0]):
        row = np.uint64((g + 1) * BLOCK)
        for p in range(count):
            d_out[row + p] = d_geo[g, first + p]


@njit(**KERNEL)
def scatter_level(level, points, scale, resolution, size, hashed, weight, xs, d_enc, grad, touched):
    """Adds all points' gradient to `grad (size, 2)` of one level. A level belongs to one thread, so the order of additions is fixed."""
    fraction, index = np.empty((2, 3 * BLOCK), np.float32), np.empty((2, 8 * BLOCK), np.uint32)
    blocks = xs.shape[0]
    locate(xs[0], scale, resolution, size, hashed, fraction[0], index[0])
    for block in range(blocks):
        now, then = block & 1, (block + 1) & 1
        if block + 1 < blocks:
            locate(xs[block + 1], scale, resolution, size, hashed, fraction[then], index[then])
            fetch_corners(grad, index[then])
        count = min(BLOCK, points - block * BLOCK)
        scatter(grad, touched, fraction[now], index[now], weight, d_enc[block], level * FEATURES, count)


@njit(**KERNEL)
def position_gradient_level(
    level, block_from, block_to, table, scale, resolution, size, hashed, weight, xs, d_enc, d_xs
):
    """Adds one level's share of d loss / d x to `d_xs (blocks, 3 * BLOCK)` for a run of blocks."""
    fraction, index = np.empty((2, 3 * BLOCK), np.float32), np.empty((2, 8 * BLOCK), np.uint32)
    locate(xs[block_from], scale, resolution, size, hashed, fraction[0], index[0])
    for block in range(block_from, block_to):
        now, then = (block - block_from) & 1, (block - block_from + 1) & 1
        if block + 1 < block_to:
            locate(xs[block + 1], scale, resolution, size, hashed, fraction[then], index[then])
            fetch_corners(table, index[then])
        add_position_gradient(
            table, fraction[now], index[now], scale, weight, d_enc[block], level * FEATURES, d_xs[block]
        )


@njit(**KERNEL)
def position_gradient(x, d_sdf, block_from, block_to, levels, d_enc, d_xs, d_x):
    """`d_x (N, 3)` from the grid's share `d_xs`, the position rows of `d_enc` and the starting sphere.

    Coordinates outside the cube are clamped: the network's share is 0 there.
    """
    for block in range(block_from, block_to):
        first = block * BLOCK
        for p in range(min(BLOCK, x.shape[0] - first)):
            a, b, c = x[first + p, 0] - HALF, x[first + p, 1] - HALF, x[first + p, 2] - HALF
            pull = d_sdf[first + p] / max(np.sqrt(a * a + b * b + c * c), np.float32(1e-12))
            for axis in range(3):
                away, row = x[first + p, axis] - HALF, axis * BLOCK + p
                network = d_xs[block, row] + TWO * d_enc[block, levels * FEATURES * BLOCK + row]
                d_x[first + p, axis] = pull * away + (network if abs(away) <= HALF else ZERO)
