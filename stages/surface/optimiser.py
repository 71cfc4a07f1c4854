"""Gradients of a field's parameters and their Adam steps: dense for the two perceptrons, sparse for the grid."""

from __future__ import annotations

import numpy as np

from stages.surface.adam import AdamShape, step_dense, step_touched
from stages.surface.hash_grid import FEATURES, LINE, aligned_zeros
from stages.surface.thread_team import ThreadTeam

GRID_JOBS = 64


class Optimiser:
    """Gradient sums (public: the backward passes add to them) and moments. Three times as large as the grid: made when first needed."""

    def __init__(self, grid: np.ndarray, sdf_weights: np.ndarray, colour_weights: np.ndarray) -> None:
        self.d_grid = aligned_zeros(grid.shape)
        self.touched = np.zeros(len(grid) // LINE, np.uint8)
        self.d_sdf_weights, self.d_colour_weights = np.zeros_like(sdf_weights), np.zeros_like(colour_weights)
        self._grid = _GridAdam(grid, self.d_grid, self.touched)
        self._dense = [_DenseAdam(sdf_weights, self.d_sdf_weights), _DenseAdam(colour_weights, self.d_colour_weights)]

    def step(self, team: ThreadTeam, lr_grid: float, lr_mlp: float) -> None:
        """Move all parameters that have a gradient, in place, and clear the gradients."""
        self._grid.step(team, lr_grid)
        for part in self._dense:
            part.step(lr_mlp)


class _GridAdam:
    shape = AdamShape(beta1=0.9, beta2=0.99, epsilon=1e-15)

    def __init__(self, grid: np.ndarray, d_grid: np.ndarray, touched: np.ndarray) -> None:
        self.touched = touched
        self.flat = [a.reshape(-1) for a in (grid, d_grid, aligned_zeros(grid.shape), aligned_zeros(grid.shape))]
        self.steps = np.zeros(self.flat[0].size // FEATURES, np.uint16)
        self.corrections = self.shape.corrections()

    def step(self, team: ThreadTeam, lr: float) -> None:
        lines, numbers = len(self.touched), (np.float32(lr), *self.shape.numbers())

        def run(job: int) -> None:
            a, b = lines * job // GRID_JOBS, lines * (job + 1) // GRID_JOBS
            step_touched(a, b, self.touched, *self.flat, self.steps, self.corrections, *numbers)

        team.run(run, GRID_JOBS)


class _DenseAdam:
    shape = AdamShape(beta1=0.9, beta2=0.99, epsilon=1e-12)

    def __init__(self, weights: np.ndarray, grad: np.ndarray) -> None:
        self.weights, self.grad = weights, grad
        self.moments = np.zeros_like(weights), np.zeros_like(weights)
        self.steps = 0

    def step(self, lr: float) -> None:
        if not self.grad.any():               # a perceptron that took no part in this step
            return
        self.steps += 1
        rate = np.float32(lr * self.shape.correction(self.steps))
        step_dense(self.weights, self.grad, *self.moments, rate, *self.shape.numbers())
        self.grad[:] = 0
