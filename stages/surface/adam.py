"""Adam (Kingma and Ba, 2015), dense for the perceptrons and sparse for the grid, where only touched entries move.

An entry whose gradient is zero keeps its moments and its own step count (as in tiny-cuda-nn); so its bias correction is exact for the
steps it took part in, and a touched entry moves exactly as torch.optim.Adam would move it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.surface.hash_grid import FAST, FEATURES, LINE, ONE, ZERO

CORRECTIONS = 4096              # steps after which 1 - beta^t is 1 in float32 for every beta <= 0.995


@dataclass(frozen=True)
class AdamShape:
    """Decay of the first and second moment, and the floor of the denominator."""

    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-15

    def corrections(self) -> np.ndarray:
        """(CORRECTIONS,) float32: sqrt(1 - beta2^t) / (1 - beta1^t) for step t (entry 0 is never used)."""
        t = np.arange(CORRECTIONS, dtype=np.float64)
        t[0] = 1
        return (np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)).astype(np.float32)

    def correction(self, step: int) -> float:
        """sqrt(1 - beta2^t) / (1 - beta1^t) for step t = 1, 2, .."""
        return (1 - self.beta2**step) ** 0.5 / (1 - self.beta1**step)

    def numbers(self) -> tuple[np.float32, np.float32, np.float32]:
        """beta1, beta2, epsilon as the kernels take them."""
        return np.float32(self.beta1), np.float32(self.beta2), np.float32(self.epsilon)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def step_dense(values, grad, first, second, rate, beta1, beta2, epsilon):
    """One step in place; `rate` is the learning rate times the bias correction."""
    for k in range(values.size):
        g = grad[k]
        first[k] = beta1 * first[k] + (ONE - beta1) * g
        second[k] = beta2 * second[k] + (ONE - beta2) * g * g
        values[k] -= rate * first[k] / (np.sqrt(second[k]) + epsilon)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def step_touched(line_from, line_to, touched, values, grad, first, second, steps, corrections, rate, beta1, beta2, epsilon):
    """One step of the flagged cache lines line_from..line_to-1 of the grid; clears their gradients and flags.

    Flat float32 `values, grad, first, second` (entries * FEATURES), `steps` uint16 per entry, `corrections` as AdamShape gives them.
    """
    width = LINE * FEATURES
    scale = np.empty(width, np.float32)
    keep1, keep2 = ONE - beta1, ONE - beta2
    for line in range(line_from, line_to):
        if touched[line] == 0:
            continue
        touched[line] = 0
        at = line * width
        for k in range(LINE):
            moved = False
            for f in range(FEATURES):
                moved |= grad[at + k * FEATURES + f] != ZERO
            entry = line * LINE + k
            if moved and steps[entry] < CORRECTIONS - 1:
                steps[entry] += 1
            for f in range(FEATURES):
                scale[k * FEATURES + f] = corrections[steps[entry]] * rate if moved else ZERO
        for k in range(width):
            g, m, v = grad[at + k], first[at + k], second[at + k]
            moved = scale[k] != ZERO
            m = beta1 * m + keep1 * g if moved else m
            v = beta2 * v + keep2 * g * g if moved else v
            values[at + k] -= scale[k] * m / (np.sqrt(v) + epsilon)
            first[at + k] = m
            second[at + k] = v
            grad[at + k] = ZERO
