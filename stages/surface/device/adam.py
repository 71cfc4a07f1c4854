"""Adam on a torch device, by the rules of adam.py: a row whose gradient is zero rests and keeps its own count of steps.

The grid is rows of two features; a perceptron is one row. Everything stays on the device, the rate too, so a step can be captured.
"""

from __future__ import annotations

import torch

from stages.core.field.adam import CORRECTIONS, AdamShape


class RowAdam:
    """Moves `values (R, C)` in place; `fused` = the Triton kernel for rows of two."""

    def __init__(self, values: torch.Tensor, shape: AdamShape, fused: bool = False) -> None:
        self.values, self.shape, self.fused = values, shape, fused
        self.first, self.second = torch.zeros_like(values), torch.zeros_like(values)
        self.steps = torch.zeros(len(values), dtype=torch.int32, device=values.device)
        self.corrections = torch.tensor(shape.corrections(), device=values.device)

    @torch.no_grad()
    def step(self, grad: torch.Tensor, rate: torch.Tensor) -> None:
        """`grad (R, C)`; `rate` a scalar tensor: the learning rate before bias correction."""
        if self.fused:
            from stages.surface.device.triton_adam import step_rows

            step_rows(
                self.values,
                grad,
                (self.first, self.second),
                self.steps,
                corrections=self.corrections,
                rate=rate,
                shape=self.shape,
            )
            return
        moved = (grad != 0).any(1)
        self.steps.add_(moved).clamp_(max=CORRECTIONS - 1)
        keep1, keep2 = 1 - self.shape.beta1, 1 - self.shape.beta2
        rows = moved[:, None]
        self.first.copy_(torch.where(rows, self.shape.beta1 * self.first + keep1 * grad, self.first))
        self.second.copy_(torch.where(rows, self.shape.beta2 * self.second + keep2 * grad * grad, self.second))
        rated = (rate * self.corrections[self.steps.long()] * moved)[:, None]
        self.values.sub_(rated * self.first / (self.second.sqrt() + self.shape.epsilon))
