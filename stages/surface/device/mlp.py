"""The field's perceptrons in torch: products by cuBLAS (or whatever the device has), squareplus that keeps only its result, half precision.

Activations lie in rows (neurons, N), as the numba kernels have them, so encoding, products and features need no transposing. `mixed` works
on hidden layers in float16 and on the last layer in float32: its sum decides the signed distance, and float16's 11 bits would round that to
a ten-thousandth of the cube. Gradients are scaled by 128 on their way through, as in tiny-cuda-nn, so that small ones survive float16.
"""

from __future__ import annotations

import torch

from stages.core.field.mlp import SQUAREPLUS_C, MlpShape

GRADIENT_SCALE = 128.0


class _Squareplus(torch.autograd.Function):
    """f(a) = (a + sqrt(a^2 + 4 c)) / 2 in float32 whatever the type; f' = y^2 / (y^2 + c) from y alone. Differentiable twice."""

    @staticmethod
    def forward(ctx, a):
        wide = a.float() if a.dtype == torch.float16 else a
        y = (0.5 * (wide + (wide * wide + 4 * SQUAREPLUS_C).sqrt())).to(a.dtype)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, d_y):
        (y,) = ctx.saved_tensors
        square = (y.float() if y.dtype == torch.float16 else y).square()
        return (d_y * square / (square + SQUAREPLUS_C)).to(d_y.dtype)


class _ScaledGradient(torch.autograd.Function):
    """The same value; its gradient times a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, d_x):
        return d_x * ctx.factor, None


def perceptron(weights: torch.Tensor, shape: MlpShape, x: torch.Tensor, mixed: bool = False) -> torch.Tensor:
    """(inputs, N) rows, filled up with ones to the network's width -> (outputs, N); `weights` flat as mlp.py has them."""
    x = torch.cat([x, x.new_ones(shape.widths[0] - len(x), x.shape[1])])
    matrices = shape.layers(weights)
    if mixed:
        x = _ScaledGradient.apply(x, 1 / GRADIENT_SCALE).half()
        matrices = [_ScaledGradient.apply(m, 1 / GRADIENT_SCALE) for m in matrices]
    for matrix in matrices[:-1]:
        x = _Squareplus.apply(matrix.to(x.dtype) @ x)
    out = matrices[-1] @ x.to(matrices[-1].dtype)
    return _ScaledGradient.apply(out, GRADIENT_SCALE) if mixed else out
