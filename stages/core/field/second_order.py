"""Losses on the gradient of the signed distance (eikonal, normals) without differences: the kernels of their exact backward pass.

With u = d loss / d gradient held fixed, u . grad f(x) is the derivative of f along u. So a tangent (marked _t) is sent forward along u
through encoding and perceptron, and the ordinary reverse pass of value and tangent together gives every parameter's gradient:

    a_t = W y_t,   y_t = f'(a) a_t        d_a = f' d_y + f'' a_t d_y_t,   d_a_t = f' d_y_t,   d_W = d_a y^T + d_a_t y_t^T

Squareplus from y = f(a): f' = y^2 / (y^2 + c), f'' = 2 c y^3 / (y^2 + c)^3. Arrays as in field_kernels.py; `along` holds u (3 rows).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.core.field.field_kernels import load_output_gradient
from stages.core.field.hash_grid import (
    BLOCK,
    FEATURES,
    HALF,
    KERNEL,
    LINE,
    ONE,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    ZERO,
    fetch_corners,
    locate,
)
from stages.core.field.mlp import C, add_weight_gradient, product, product_transposed

TWO = np.float32(2)


@njit(**KERNEL)
def load_directions(x, d_gradient, block_from, block_to, levels, along, enc_t):
    """`along` from d loss / d gradient (N, 3), 0 where a coordinate is clamped, and the tangents of the rows above the grid's."""
    for block in range(block_from, block_to):
        first = block * BLOCK
        for k in range(np.uint64(levels * FEATURES * BLOCK), np.uint64(enc_t.shape[1])):
            enc_t[block, k] = ZERO
        for axis in range(3):
            for p in range(BLOCK):
                inside = p < x.shape[0] - first and abs(x[first + p, axis] - HALF) <= HALF
                u = d_gradient[first + p, axis] if inside else ZERO
                along[block, axis * BLOCK + p] = u
                enc_t[block, (levels * FEATURES + axis) * BLOCK + p] = TWO * u


@njit(**KERNEL)
def encode_tangent_level(level, block_from, block_to, table, scale, resolution, size, hashed, weight, xs, along, enc_t):
    """Tangent of one level's features along u for a run of blocks."""
    fraction, index = np.empty((2, 3 * BLOCK), np.float32), np.empty((2, 8 * BLOCK), np.uint32)
    locate(xs[block_from], scale, resolution, size, hashed, fraction[0], index[0])
    for block in range(block_from, block_to):
        now, then = (block - block_from) & 1, (block - block_from + 1) & 1
        if block + 1 < block_to:
            locate(xs[block + 1], scale, resolution, size, hashed, fraction[then], index[then])
            fetch_corners(table, index[then])
        _interpolate_tangent(
            table, fraction[now], index[now], weight * scale, along[block], enc_t[block], level * FEATURES
        )


@njit(**KERNEL)
def _interpolate_tangent(table, fraction, index, weight, along, enc_t, row):
    out = np.uint64(row * BLOCK)
    for p in range(R1):
        fx, fy, fz = fraction[p], fraction[R1 + p], fraction[R2 + p]
        gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
        ux, uy, uz = along[p] * weight, along[R1 + p] * weight, along[R2 + p] * weight
        i0, i1, i2, i3 = index[p], index[R1 + p], index[R2 + p], index[R3 + p]
        i4, i5, i6, i7 = index[R4 + p], index[R5 + p], index[R6 + p], index[R7 + p]
        for feature in range(FEATURES):
            v0, v1, v2, v3 = table[i0, feature], table[i1, feature], table[i2, feature], table[i3, feature]
            v4, v5, v6, v7 = table[i4, feature], table[i5, feature], table[i6, feature], table[i7, feature]
            dx = ((v1 - v0) * gy + (v3 - v2) * fy) * gz + ((v5 - v4) * gy + (v7 - v6) * fy) * fz
            dy = ((v2 - v0) * gx + (v3 - v1) * fx) * gz + ((v6 - v4) * gx + (v7 - v5) * fx) * fz
            dz = ((v4 - v0) * gx + (v5 - v1) * fx) * gy + ((v6 - v2) * gx + (v7 - v3) * fx) * fy
            enc_t[out + np.uint64(feature * BLOCK) + p] = dx * ux + dy * uy + dz * uz


@njit(**KERNEL)
def decode_backward(d_sdf, d_geo, block_from, block_to, w, widths, d_w, enc, enc_t, hidden):
    """Adds to `d_w` the gradient for d_sdf, d_geo and u together, and overwrites `enc` and `enc_t` by their gradients."""
    out_rows = 1 + d_geo.shape[0]
    d_out, d_out_t = np.empty(out_rows * BLOCK, np.float32), np.zeros(out_rows * BLOCK, np.float32)
    for p in range(R1):
        d_out_t[p] = ONE
    scratch = np.empty((4, hidden.shape[1]), np.float32)
    d_enc, d_enc_t = np.empty(enc.shape[1], np.float32), np.empty(enc.shape[1], np.float32)
    for block in range(block_from, block_to):
        load_output_gradient(d_sdf, d_geo, block, d_out)
        _tangent(w, widths, enc_t[block], hidden[block], scratch[0], scratch[1])
        _backward(
            w, widths, d_w, enc[block], enc_t[block], hidden[block], d_out, d_out_t, out_rows, scratch, d_enc, d_enc_t
        )
        for k in range(np.uint64(d_enc.size)):
            enc[block, k] = d_enc[k]
            enc_t[block, k] = d_enc_t[k]


@njit(**KERNEL)
def _tangent(w, widths, x_t, hidden, a_t, y_t):
    """Tangents before (`a_t`) and after (`y_t`) the activation of every hidden layer."""
    at, top, below = 0, 0, x_t
    for layer in range(widths.size - 2):
        rows, cols = widths[layer + 1], widths[layer]
        end = top + rows * BLOCK
        product(w, at, rows, cols, below, a_t[top:end])
        for k in range(np.uint64(top), np.uint64(end)):
            s = hidden[k] * hidden[k]
            y_t[k] = a_t[k] * s / (s + C)
        below = y_t[top:end]
        at += rows * cols
        top = end


@njit(**KERNEL)
def _backward(w, widths, d_w, x, x_t, hidden, d_out, d_out_t, out_rows, scratch, d_x, d_x_t):
    """As mlp.backward, for values and tangents; `scratch` rows: a_t and y_t as `_tangent` left them, and room for d_a, d_a_t."""
    a_t, y_t, d, d_t = scratch[0], scratch[1], scratch[2], scratch[3]
    at, top = 0, 0
    for layer in range(widths.size - 2):
        at += widths[layer + 1] * widths[layer]
        top += widths[layer + 1] * BLOCK
    above, above_t, rows = d_out, d_out_t, out_rows
    for layer in range(widths.size - 2, 0, -1):
        cols = widths[layer]
        end, top = top, top - cols * BLOCK
        add_weight_gradient(d_w, at, rows, cols, above, hidden[top:end])
        add_weight_gradient(d_w, at, rows, cols, above_t, y_t[top:end])
        product_transposed(w, at, rows, cols, above, d[top:end])
        product_transposed(w, at, rows, cols, above_t, d_t[top:end])
        for k in range(np.uint64(top), np.uint64(end)):
            y = hidden[k]
            q = ONE / (y * y + C)
            slope, bend = y * y * q, TWO * C * y * y * y * q * q * q
            d[k] = slope * d[k] + bend * a_t[k] * d_t[k]
            d_t[k] = slope * d_t[k]
        above, above_t, rows = d[top:end], d_t[top:end], cols
        at -= cols * widths[layer - 1]
    add_weight_gradient(d_w, 0, rows, widths[0], above, x)
    add_weight_gradient(d_w, 0, rows, widths[0], above_t, x_t)
    product_transposed(w, 0, rows, widths[0], above, d_x)
    product_transposed(w, 0, rows, widths[0], above_t, d_x_t)


@njit(**KERNEL)
def scatter_level(level, points, scale, resolution, size, hashed, weight, xs, along, d_enc, d_enc_t, grad, touched):
    """As field_kernels.scatter_level, for the features and their tangents."""
    fraction, index = np.empty((2, 3 * BLOCK), np.float32), np.empty((2, 8 * BLOCK), np.uint32)
    blocks = xs.shape[0]
    locate(xs[0], scale, resolution, size, hashed, fraction[0], index[0])
    for block in range(blocks):
        now, then = block & 1, (block + 1) & 1
        if block + 1 < blocks:
            locate(xs[block + 1], scale, resolution, size, hashed, fraction[then], index[then])
            fetch_corners(grad, index[then])
        count = min(BLOCK, points - block * BLOCK)
        row = level * FEATURES
        _scatter(
            grad,
            touched,
            fraction[now],
            index[now],
            weight,
            scale,
            along[block],
            d_enc[block],
            d_enc_t[block],
            row,
            count,
        )


@njit(**KERNEL)
def _scatter(grad, touched, fraction, index, weight, scale, along, d_enc, d_enc_t, row, count):
    from_row, line = np.uint64(row * BLOCK), np.uint64(LINE)
    for p in range(np.uint64(count)):
        fx, fy, fz = fraction[p], fraction[R1 + p], fraction[R2 + p]
        ux, uy, uz = along[p] * scale, along[R1 + p] * scale, along[R2 + p] * scale
        d0, d1 = d_enc[from_row + p] * weight, d_enc[from_row + R1 + p] * weight
        t0, t1 = d_enc_t[from_row + p] * weight, d_enc_t[from_row + R1 + p] * weight
        for corner in range(8):
            wx, sx = (fx, ux) if corner & 1 else (ONE - fx, -ux)
            wy, sy = (fy, uy) if corner & 2 else (ONE - fy, -uy)
            wz, sz = (fz, uz) if corner & 4 else (ONE - fz, -uz)
            value, tangent = wx * wy * wz, sx * wy * wz + wx * sy * wz + wx * wy * sz
            i = index[np.uint64(corner * BLOCK) + p]
            grad[i, 0] += value * d0 + tangent * t0
            grad[i, 1] += value * d1 + tangent * t1
            touched[i // line] = 1
