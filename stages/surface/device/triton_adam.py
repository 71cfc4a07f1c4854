"""The grid's Adam step as one Triton kernel: every entry is read and written once, entries without a gradient only looked at."""

# pyright: reportGeneralTypeIssues=false
# kernels are not run as Python: a type checker cannot know what triton makes of their loops

from __future__ import annotations

import torch
import triton
import triton.language as tl

from stages.core.field.adam import CORRECTIONS, AdamShape

BLOCK = 512
_LAST = tl.constexpr(CORRECTIONS - 1)


@triton.jit
def _step(
    values,
    grad,
    first,
    second,
    steps,
    corrections,
    rate,
    beta1,
    beta2,
    keep1,
    keep2,
    epsilon,
    rows,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = row < rows
    g0, g1 = tl.load(grad + 2 * row, mask=there, other=0.0), tl.load(grad + 2 * row + 1, mask=there, other=0.0)
    moved = there & ((g0 != 0.0) | (g1 != 0.0))
    step = tl.minimum(tl.load(steps + row, mask=moved, other=0) + 1, _LAST)
    tl.store(steps + row, step, mask=moved)
    rated = tl.load(rate) * tl.load(corrections + step, mask=moved, other=0.0)
    for feature in tl.static_range(2):
        at = 2 * row + feature
        g = g1 if feature else g0
        m = beta1 * tl.load(first + at, mask=moved, other=0.0) + keep1 * g
        v = beta2 * tl.load(second + at, mask=moved, other=0.0) + keep2 * g * g
        tl.store(first + at, m, mask=moved)
        tl.store(second + at, v, mask=moved)
        value = tl.load(values + at, mask=moved, other=0.0)
        tl.store(values + at, value - rated * m / (tl.sqrt(v) + epsilon), mask=moved)


def step_rows(
    values: torch.Tensor,
    grad: torch.Tensor,
    moments: tuple[torch.Tensor, torch.Tensor],
    steps: torch.Tensor,
    corrections: torch.Tensor,
    rate: torch.Tensor,
    shape: AdamShape,
) -> None:
    """One step in place: contiguous (R, 2) float32 tensors, the first and second moment too; `steps (R,)` int32, `rate` a float32 scalar
    tensor."""
    first, second = moments
    beta1, beta2, epsilon = shape.beta1, shape.beta2, shape.epsilon
    _step[(triton.cdiv(len(values), BLOCK),)](
        values,
        grad,
        first,
        second,
        steps,
        corrections,
        rate,
        beta1,
        beta2,
        1 - beta1,
        1 - beta2,
        epsilon,
        len(values),
        BLOCK=BLOCK,
    )
