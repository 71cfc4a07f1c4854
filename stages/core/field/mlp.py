"""Small perceptrons on blocks of points: products with a weight matrix, their adjoints, and the activation.

A block holds BLOCK points; an activation array is flat, one run of BLOCK values per neuron. Weight matrices are row-major (outputs,
inputs) parts of one flat array, as in torch.nn.Linear and tiny-cuda-nn; there are no bias vectors: inputs carry rows of ones instead.
Loops are blocked 4 outputs x 4 inputs so that each load feeds four multiply-adds.

Activation: squareplus f(a) = (a + sqrt(a^2 + 4 / K^2)) / 2 with K = 10, tiny-cuda-nn's "Squareplus": smooth, so surface normals are,
and without exponentials. With y = f(a): a = y - c / y and f'(a) = y^2 / (y^2 + c), c = 1 / K^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.core.field.hash_grid import BLOCK, KERNEL, R1, R2, R3

SQUAREPLUS_C = 0.01
C, FOUR_C, HALF, ZERO = np.float32(SQUAREPLUS_C), np.float32(4 * SQUAREPLUS_C), np.float32(0.5), np.float32(0)


@dataclass(frozen=True)
class MlpShape:
    """Widths from input to output; inputs and hidden layers are multiples of four."""

    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.widths) < 3 or any(w % 4 for w in self.widths[:-1]):
            raise ValueError(
                f"an MLP needs a hidden layer and input and hidden widths that are multiples of 4, not {self.widths}"
            )

    @property
    def count(self) -> int:
        """Number of weights."""
        return sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))

    def layers(self, weights: np.ndarray) -> list[np.ndarray]:
        """Views (outputs, inputs) of the flat weights, first layer first."""
        out, at = [], 0
        for a, b in zip(self.widths, self.widths[1:], strict=False):
            out.append(weights[at : at + a * b].reshape(b, a))
            at += a * b
        return out

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """He-uniform weights, float32."""
        parts = [rng.uniform(-1, 1, a * b) * np.sqrt(6 / a) for a, b in zip(self.widths, self.widths[1:], strict=False)]
        return np.concatenate(parts).astype(np.float32)


def rounded_up_to_four(n: int) -> int:
    """The next multiple of 4."""
    return -(-n // 4) * 4


@njit(**KERNEL)
def product(w, at, rows, cols, x, y):
    """y (rows) = W x (cols), W at w[at:]."""
    for k in range(np.uint64(rows * BLOCK)):
        y[k] = ZERO
    full = rows - rows % 4
    for r in range(0, full, 4):
        for c in range(0, cols, 4):
            i = at + r * cols + c
            j, k, l = i + cols, i + 2 * cols, i + 3 * cols
            a0, a1, a2, a3 = w[i], w[i + 1], w[i + 2], w[i + 3]
            b0, b1, b2, b3 = w[j], w[j + 1], w[j + 2], w[j + 3]
            c0, c1, c2, c3 = w[k], w[k + 1], w[k + 2], w[k + 3]
            d0, d1, d2, d3 = w[l], w[l + 1], w[l + 2], w[l + 3]
            xo, yo = np.uint64(c * BLOCK), np.uint64(r * BLOCK)
            for p in range(R1):
                x0, x1, x2, x3 = x[xo + p], x[xo + R1 + p], x[xo + R2 + p], x[xo + R3 + p]
                y[yo + p] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                y[yo + R1 + p] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                y[yo + R2 + p] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                y[yo + R3 + p] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
    for r in range(full, rows):
        for c in range(0, cols, 4):
            i = at + r * cols + c
            a0, a1, a2, a3 = w[i], w[i + 1], w[i + 2], w[i + 3]
            xo, yo = np.uint64(c * BLOCK), np.uint64(r * BLOCK)
            for p in range(R1):
                y[yo + p] += a0 * x[xo + p] + a1 * x[xo + R1 + p] + a2 * x[xo + R2 + p] + a3 * x[xo + R3 + p]


@njit(**KERNEL)
def product_transposed(w, at, rows, cols, y, x):
    """x (cols) = W^T y (rows), W at w[at:]."""
    for k in range(np.uint64(cols * BLOCK)):
        x[k] = ZERO
    full = rows - rows % 4
    for c in range(0, cols, 4):
        for r in range(0, full, 4):
            i = at + r * cols + c
            j, k, l = i + cols, i + 2 * cols, i + 3 * cols
            a0, a1, a2, a3 = w[i], w[j], w[k], w[l]
            b0, b1, b2, b3 = w[i + 1], w[j + 1], w[k + 1], w[l + 1]
            c0, c1, c2, c3 = w[i + 2], w[j + 2], w[k + 2], w[l + 2]
            d0, d1, d2, d3 = w[i + 3], w[j + 3], w[k + 3], w[l + 3]
            xo, yo = np.uint64(c * BLOCK), np.uint64(r * BLOCK)
            for p in range(R1):
                y0, y1, y2, y3 = y[yo + p], y[yo + R1 + p], y[yo + R2 + p], y[yo + R3 + p]
                x[xo + p] += a0 * y0 + a1 * y1 + a2 * y2 + a3 * y3
                x[xo + R1 + p] += b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3
                x[xo + R2 + p] += c0 * y0 + c1 * y1 + c2 * y2 + c3 * y3
                x[xo + R3 + p] += d0 * y0 + d1 * y1 + d2 * y2 + d3 * y3
        for r in range(full, rows):
            i = at + r * cols + c
            a0, a1, a2, a3 = w[i], w[i + 1], w[i + 2], w[i + 3]
            xo, yo = np.uint64(c * BLOCK), np.uint64(r * BLOCK)
            for p in range(R1):
                y0 = y[yo + p]
                x[xo + p] += a0 * y0
                x[xo + R1 + p] += a1 * y0
                x[xo + R2 + p] += a2 * y0
                x[xo + R3 + p] += a3 * y0


@njit(**KERNEL)
def add_weight_gradient(d_w, at, rows, cols, d_y, x):
    """d_w[at:] += d_y (rows) x^T (cols), summed over the points of the block."""
    full = rows - rows % 2
    for r in range(0, full, 2):
        for c in range(0, cols, 4):
            s0 = s1 = s2 = s3 = ZERO
            t0 = t1 = t2 = t3 = ZERO
            xo, yo = np.uint64(c * BLOCK), np.uint64(r * BLOCK)
            for p in range(R1):
                x0, x1, x2, x3 = x[xo + p], x[xo + R1 + p], x[xo + R2 + p], x[xo + R3 + p]
                y0, y1 = d_y[yo + p], d_y[yo + R1 + p]
                s0 += y0 * x0
                s1 += y0 * x1
                s2 += y0 * x2
                s3 += y0 * x3
                t0 += y1 * x0
                t1 += y1 * x1
                t2 += y1 * x2
                t3 += y1 * x3
            i = at + r * cols + c
            j = i + cols
            d_w[i] += s0
            d_w[i + 1] += s1
            d_w[i + 2] += s2
            d_w[i + 3] += s3
            d_w[j] += t0
            d_w[j + 1] += t1
            d_w[j + 2] += t2
            d_w[j + 3] += t3
    for r in range(full, rows):
        for c in range(0, cols):
            s0 = ZERO
            xo, yo = np.uint64(c * BLOCK), np.uint64(r * BLOCK)
            for p in range(R1):
                s0 += d_y[yo + p] * x[xo + p]
            d_w[at + r * cols + c] += s0


@njit(**KERNEL)
def activate(y, rows):
    """Squareplus in place."""
    for k in range(np.uint64(rows * BLOCK)):
        a = y[k]
        y[k] = HALF * (a + np.sqrt(a * a + FOUR_C))


@njit(**KERNEL)
def activation_backward(d, y, rows):
    """d *= f' in place, from the activated values y = f(a)."""
    for k in range(np.uint64(rows * BLOCK)):
        s = y[k] * y[k]
        d[k] *= s / (s + C)


@njit(**KERNEL)
def forward(w, widths, x, hidden, out, out_rows):
    """First `out_rows` outputs of the perceptron into `out`; `hidden` receives all hidden activations, first layer first."""
    at, below, top = 0, x, 0
    for layer in range(widths.size - 2):
        rows, cols = widths[layer + 1], widths[layer]
        here = hidden[top : top + rows * BLOCK]
        product(w, at, rows, cols, below, here)
        activate(here, rows)
        at += rows * cols
        top += rows * BLOCK
        below = here
    product(w, at, out_rows, widths[-2], below, out)


@njit(**KERNEL)
def backward(w, widths, d_w, x, hidden, d_out, out_rows, d_hidden, d_x):
    """Adjoint of `forward`: adds to `d_w` (skipped if it is empty) and writes `d_x`; `d_hidden` is scratch as large as `hidden`."""
    at, top = 0, 0
    for layer in range(widths.size - 2):
        at += widths[layer + 1] * widths[layer]
        top += widths[layer + 1] * BLOCK
    above, rows = d_out, out_rows
    for layer in range(widths.size - 2, 0, -1):
        cols = widths[layer]
        top -= cols * BLOCK
        here, d_here = hidden[top : top + cols * BLOCK], d_hidden[top : top + cols * BLOCK]
        if d_w.size:
            add_weight_gradient(d_w, at, rows, cols, above, here)
        product_transposed(w, at, rows, cols, above, d_here)
        activation_backward(d_here, here, cols)
        above, rows = d_here, cols
        at -= cols * widths[layer - 1]
    if d_w.size:
        add_weight_gradient(d_w, 0, rows, widths[0], above, x)
    product_transposed(w, 0, rows, widths[0], above, d_x)
