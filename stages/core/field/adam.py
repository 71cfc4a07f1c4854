"""Adam (Kingma and Ba, 2015), dense for the perceptrons and sparse for the grid, where only touched entries move.

An entry whose gradient is zero keeps its moments and its own step count (as in tiny-cuda-nn); so its bias correction is exact for the
steps it took part in, and a touched entry moves exactly as torch.optim.Adam would move it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.core.field.hash_grid import FEATURES, KERNEL, LINE, ONE, ZERO
from stages.core.field.prefetch import prefetch

STRIP = 64
U0, U1, U_STRIP = np.uint64(0), np.uint64(1), np.uint64(STRIP)  # unsigned: see hash_grid.py
ENTRIES, WIDTH = np.uint64(LINE), np.uint64(LINE * FEATURES)
CORRECTIONS = 4096  # steps after which 1 - beta^t is 1 in float32 for every beta <= 0.995


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


@njit(**KERNEL)
def step_dense(values, grad, first, second, rate, beta1, beta2, epsilon):
    """One step in place; `rate` is the learning rate times the bias correction."""
    for k in range(np.uint64(values.size)):
        g = grad[k]
        first[k] = beta1 * first[k] + (ONE - beta1) * g
        second[k] = beta2 * second[k] + (ONE - beta2) * g * g
        values[k] -= rate * first[k] / (np.sqrt(second[k]) + epsilon)


@njit(**KERNEL)
def step_touched(touched, grad, values, first, second, steps, corrections, rate, beta1, beta2, epsilon):
    """One step of the flagged cache lines of one level; clears gradients and flags.

    `touched (lines,)` uint8; flat float32 `grad, values, first, second` (lines * LINE * FEATURES,), `steps` uint16 per entry,
    `corrections` as AdamShape gives them. Works a strip of flagged lines at a time while the next strip's memory is fetched.
    """
    lines, rates = np.empty((2, STRIP), np.uint64), np.empty(STRIP * LINE * FEATURES, np.float32)
    line, now = U0, 0
    line, found = _collect(touched, line, lines[0], grad, values, first, second, steps)
    while found > U0:
        line, following = _collect(touched, line, lines[1 - now], grad, values, first, second, steps)
        _rates(lines[now], found, grad, steps, corrections, rate, rates)
        _move(lines[now], found, grad, values, first, second, rates, beta1, beta2, epsilon)
        found, now = following, 1 - now


@njit(**KERNEL)
def _collect(touched, line, lines, grad, values, first, second, steps):
    """The next flagged lines from `line` on, at most STRIP, whose memory is prefetched: (line after the last one looked at, number)."""
    end, found = np.uint64(touched.size), U0
    while line < end and found < U_STRIP:
        if touched[line]:
            touched[line] = 0
            lines[found] = line
            found += U1
            prefetch(grad, line * WIDTH)
            prefetch(values, line * WIDTH)
            prefetch(first, line * WIDTH)
            prefetch(second, line * WIDTH)
            prefetch(steps, line * ENTRIES)
        line += U1
    return line, found


@njit(**KERNEL)
def _rates(lines, found, grad, steps, corrections, rate, rates):
    """Count the step of every entry with a gradient; `rates`: its bias-corrected rate for each value, 0 for the others."""
    last = np.uint16(CORRECTIONS - 1)
    for n in range(found):
        at, entry, to = lines[n] * WIDTH, lines[n] * ENTRIES, n * WIDTH
        for k in range(ENTRIES):  # no branches: which entries have a gradient is as good as random
            moved = np.uint16((grad[at + k + k] != ZERO) | (grad[at + k + k + U1] != ZERO))
            step = steps[entry + k]
            step = np.uint16(step + (moved & np.uint16(step < last)))
            steps[entry + k] = step
            rated = rate * corrections[step] * np.float32(moved)
            rates[to + k + k] = rated
            rates[to + k + k + U1] = rated


@njit(**KERNEL)
def _move(lines, found, grad, values, first, second, rates, beta1, beta2, epsilon):
    """Move the values with a rate; a pass of its own, for a vector load right after the scalar stores it covers would stall."""
    keep1, keep2 = ONE - beta1, ONE - beta2
    for n in range(found):
        at, to = lines[n] * WIDTH, n * WIDTH
        for k in range(WIDTH):
            g, m, v = grad[at + k], first[at + k], second[at + k]
            moved = rates[to + k] != ZERO
            m = beta1 * m + keep1 * g if moved else m
            v = beta2 * v + keep2 * g * g if moved else v
            values[at + k] -= rates[to + k] * m / (np.sqrt(v) + epsilon)
            first[at + k] = m
            second[at + k] = v
            grad[at + k] = ZERO
