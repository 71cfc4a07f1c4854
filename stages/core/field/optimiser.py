"""Gradients of a field's parameters and their Adam steps: dense for the two perceptrons, sparse for the grid.

Grid gradients are scattered only when the step is made, level by level: a level's gradient then lives in one thread's scratch table,
small enough for the cache, is used at once, and never exists for the whole grid.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from stages.core.field import field_kernels, second_order
from stages.core.field.adam import AdamShape, step_dense, step_touched
from stages.core.field.hash_grid import FEATURES, LINE, GridLayout, aligned_zeros
from stages.core.field.thread_team import ThreadTeam


@dataclass(frozen=True)
class Pending:
    """Gradient of the encoding of one batch, waiting to be scattered, and the weights its levels had.

    `buffers`: positions, gradient of the perceptron's inputs, a spent one; after a loss on the gradient of the signed distance also
    directions and gradient of the tangents (second_order.py).
    """

    points: int
    active: np.ndarray
    buffers: tuple[np.ndarray, ...]

    def scatter(self, level: int, place: tuple, grad: np.ndarray, touched: np.ndarray) -> None:
        """Add the gradient of one level to `grad (>= size, 2)` and flag its lines."""
        weight = self.active[level]
        if weight == 0 or self.points == 0:
            return
        xs, d_enc, _, *second = self.buffers
        if second:
            along, d_enc_t = second
            second_order.scatter_level(level, self.points, *place, weight, xs, along, d_enc, d_enc_t, grad, touched)
        else:
            field_kernels.scatter_level(level, self.points, *place, weight, xs, d_enc, grad, touched)


class GridAdam:
    """Sparse Adam of the grid, in place. Moments and step counts make it three times as large as the grid."""

    shape = AdamShape(beta1=0.9, beta2=0.99, epsilon=1e-15)

    def __init__(self, layout: GridLayout, grid: np.ndarray, threads: int) -> None:
        self.layout, self.grid = layout, grid
        self.first, self.second = aligned_zeros(grid.shape), aligned_zeros(grid.shape)
        self.steps = np.zeros(len(grid), np.uint16)
        self.corrections = self.shape.corrections()
        largest = int(layout.size.max())
        self._scratch = deque(
            (aligned_zeros((largest, FEATURES)), np.zeros(largest // LINE, np.uint8)) for _ in range(threads)
        )

    def step(self, team: ThreadTeam, pending: list[Pending], lr: float) -> None:
        """Scatter the pending gradients and move the entries they touch."""
        levels = range(self.layout.levels - 1, -1, -1)  # fine levels take longest: first
        numbers = (np.float32(lr), *self.shape.numbers())

        def run(job: int) -> None:
            level = levels[job]
            grad, touched = scratch = self._scratch.pop()
            try:
                self._step_level(level, pending, grad, touched, numbers=numbers)
            finally:
                self._scratch.append(scratch)

        team.run(run, len(levels))

    def _step_level(
        self, level: int, pending: list[Pending], grad: np.ndarray, touched: np.ndarray, numbers: tuple
    ) -> None:
        size = int(self.layout.size[level])
        self.gather(level, pending, grad, touched)
        flat = [self.layout.part(a, level).reshape(-1) for a in (self.grid, self.first, self.second)]
        steps = self.layout.part(self.steps, level)
        step_touched(touched[: size // LINE], grad[:size].reshape(-1), *flat, steps, self.corrections, *numbers)

    def gather(self, level: int, pending: list[Pending], grad: np.ndarray, touched: np.ndarray) -> None:
        """Add the pending gradients of one level to `grad (>= size, 2)` and flag its lines."""
        for batch in pending:
            batch.scatter(level, self.layout.place(level), grad, touched)


class DenseAdam:
    """Adam of a perceptron's weights, in place; `grad` gathers their gradient."""

    shape = AdamShape(beta1=0.9, beta2=0.99, epsilon=1e-12)

    def __init__(self, weights: np.ndarray) -> None:
        self.weights, self.grad = weights, np.zeros_like(weights)
        self.moments = np.zeros_like(weights), np.zeros_like(weights)
        self.steps = 0

    def step(self, lr: float) -> None:
        """Move the weights and clear the gradient; a perceptron that took no part (gradient all zero) rests."""
        if not self.grad.any():
            return
        self.steps += 1
        rate = np.float32(lr * self.shape.correction(self.steps))
        step_dense(self.weights, self.grad, *self.moments, rate, *self.shape.numbers())
        self.grad[:] = 0


class Optimiser:
    """Everything training needs beside the parameters; made on the first backward pass, so that inference stays small."""

    def __init__(
        self, layout: GridLayout, grid: np.ndarray, sdf_weights: np.ndarray, colour_weights: np.ndarray, threads: int
    ) -> None:
        self.grid = GridAdam(layout, grid, threads)
        self.sdf, self.colour = DenseAdam(sdf_weights), DenseAdam(colour_weights)
        self.pending: list[Pending] = []

    def step(self, team: ThreadTeam, lr_grid: float, lr_mlp: float) -> list[Pending]:
        """Move all parameters that have a gradient; returns the batches that are done with."""
        self.grid.step(team, self.pending, lr_grid)
        self.sdf.step(lr_mlp)
        self.colour.step(lr_mlp)
        done, self.pending = self.pending, []
        return done

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients gathered since the last step, as `Field.gradients` describes them (dense: for tests and other backends)."""
        layout, grid = self.grid.layout, np.zeros_like(self.grid.grid)
        for level in range(layout.levels):
            part = layout.part(grid, level)
            self.grid.gather(level, self.pending, part, np.zeros(len(part) // LINE, np.uint8))
        return {"grid": grid, "sdf_weights": self.sdf.grad, "colour_weights": self.colour.grad}
