"""Where along a ray the field is asked: a grid that remembers the signed distance, and only where the object can be.

`Space.known` is the field's own value on a grid, brought up to date every so many steps; a march through it gives every ray a first
rendering, and the samples for the field are drawn from its weights (two-stage sampling without a first pass through the network). Cells
that the outlines rule out hold their distance from the hull, are never sampled, and never asked again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from stages.core.field.cube_rays import crossing, parts_of
from stages.core.field.hash_grid import HALF, KERNEL, ONE, ZERO
from stages.core.field.thread_team import ThreadTeam
from stages.surface.learning.rays import Rays

CELLS = 128
MARCH = np.float32(0.7)
"""step of the march, cells"""
MOST_STEPS = 320
UNIFORM = np.float32(0.25)
"""share of a ray's samples that is spread evenly over all that may be object"""
FAINT = np.float32(1e-3)
RUNS = 8
"""parts of a batch of rays; never a function of the number of threads"""


class Space:
    """`known (n, n, n)` float32 signed distance in the cube at (i, j, k) / (n - 1), `open` uint8: the object can be here."""

    def __init__(self, bound: np.ndarray, margin: float) -> None:
        """`bound (n, n, n)`: distance from the hull in the cube, positive outside; `margin`: how far outside the surface may yet lie."""
        self.bound = bound.astype(np.float32)
        self.known = self.bound.copy()
        self.open = (bound < margin).astype(np.uint8)
        at = np.argwhere(self.open)
        self._flat = np.ravel_multi_index(at.T, bound.shape)
        self._points = (at / (np.array(bound.shape) - 1)).astype(np.float32)

    def refresh(self, sdf: Callable[[np.ndarray], np.ndarray]) -> None:
        """Ask the field anew: `sdf` of (N, 3) float32 points."""
        self.known.reshape(-1)[self._flat] = sdf(self._points)

    def place(
        self, rays: Rays, jitter: np.ndarray, steepness: float, team: ThreadTeam
    ) -> tuple[np.ndarray, np.ndarray]:
        """(distances of the samples from the eye (R, S) ascending, (R,) bool: the ray can meet the object). `jitter (R, S)` in 0..1."""
        along, found = np.zeros(jitter.shape, np.float32), np.zeros(len(rays), np.uint8)
        parts, k = runs(len(rays)), np.float32(steepness)

        def run(job: int) -> None:
            place_samples(rays.eye, rays.ray, self.known, self.open, k, jitter, *parts[job], along, found)

        team.run(run, len(parts))
        return along, found > 0

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, 3) float32 points where the object can be."""
        cell = ONE / (self.bound.shape[0] - 1)
        x = self._points[rng.integers(0, len(self._points), count)] + (rng.random((count, 3)) - 0.5) * cell
        return np.clip(x, 0, 1).astype(np.float32)


@njit(**KERNEL)
def trilinear(values, x, y, z):
    """Value at a place of the unit cube."""
    n = values.shape[0] - 1
    x = min(max(x, ZERO), ONE) * np.float32(n)
    y = min(max(y, ZERO), ONE) * np.float32(n)
    z = min(max(z, ZERO), ONE) * np.float32(n)
    i, j, k = min(int(x), n - 1), min(int(y), n - 1), min(int(z), n - 1)
    fx, fy, fz = x - np.float32(i), y - np.float32(j), z - np.float32(k)
    a = values[i, j, k] * (ONE - fz) + values[i, j, k + 1] * fz
    b = values[i, j + 1, k] * (ONE - fz) + values[i, j + 1, k + 1] * fz
    c = values[i + 1, j, k] * (ONE - fz) + values[i + 1, j, k + 1] * fz
    d = values[i + 1, j + 1, k] * (ONE - fz) + values[i + 1, j + 1, k + 1] * fz
    return (a * (ONE - fy) + b * fy) * (ONE - fx) + (c * (ONE - fy) + d * fy) * fx


@njit(**KERNEL)
def place_samples(eye, ray, known, open_cells, steepness, jitter, ray_from, ray_to, along, found):
    """`along (R, S)`: distances of the samples from the eye, ascending; `found (R,)` uint8: 0 = the ray meets no open cell.

    `eye`, `ray (R, 3)` in the cube, unit rays; `jitter (R, S)` in 0..1.
    """
    n, samples = known.shape[0] - 1, along.shape[1]
    weight, even = np.empty(MOST_STEPS, np.float32), np.empty(MOST_STEPS, np.float32)
    for r in range(ray_from, ray_to):
        found[r] = 0
        near, far = crossing(eye[r], ray[r])
        if near >= far:
            continue
        steps = min(MOST_STEPS, int((far - near) * np.float32(n) / MARCH) + 1)
        step = (far - near) / np.float32(steps)
        clear, before, total, spread = ONE, np.float32(1e9), ZERO, ZERO
        for i in range(steps):
            t = near + (np.float32(i) + HALF) * step
            x, y, z = eye[r, 0] + t * ray[r, 0], eye[r, 1] + t * ray[r, 1], eye[r, 2] + t * ray[r, 2]
            a, b, c = int(x * np.float32(n) + HALF), int(y * np.float32(n) + HALF), int(z * np.float32(n) + HALF)
            weight[i] = even[i] = ZERO
            if open_cells[min(max(a, 0), n), min(max(b, 0), n), min(max(c, 0), n)] == 0:
                before = np.float32(1e9)
                continue
            here = trilinear(known, x, y, z)
            logistic = ONE / (ONE + np.exp(-min(max(steepness * here, np.float32(-30)), np.float32(30))))
            if before < np.float32(1e8):
                alpha = max(ZERO, (before - logistic) / (before + np.float32(1e-6)))
            else:
                alpha = ONE - logistic  # it comes from outside
            before = logistic
            weight[i], even[i] = clear * alpha, clear + np.float32(0.02)
            clear *= ONE - alpha
            total += weight[i]
            spread += even[i]
        if spread == ZERO:
            continue
        found[r] = 1
        _invert(weight, even, steps, total, spread, near, step, jitter[r], along[r], samples)


@njit(**KERNEL)
def _invert(weight, even, steps, total, spread, near, step, jitter, along, samples):
    """Stratified samples of the mixture of rendering weights and of what is even, by its inverse distribution."""
    share = UNIFORM if total > FAINT else ONE
    scale = (ONE - share) / max(total, FAINT)
    i, passed = 0, ZERO
    mass = weight[0] * scale + even[0] / spread * share
    for s in range(samples):
        wanted = (np.float32(s) + jitter[s]) / np.float32(samples)
        while passed + mass < wanted and i < steps - 1:
            passed += mass
            i += 1
            mass = weight[i] * scale + even[i] / spread * share
        inside = min(ONE, (wanted - passed) / mass) if mass > ZERO else HALF
        along[s] = near + (np.float32(i) + inside) * step


@njit(**KERNEL)
def trilinear_all(values, x):
    """(N,) values at places (N, 3) of the unit cube."""
    out = np.empty(x.shape[0], np.float32)
    for p in range(x.shape[0]):
        out[p] = trilinear(values, x[p, 0], x[p, 1], x[p, 2])
    return out


def runs(count: int) -> list[tuple[int, int]]:
    """Runs (first, past the last) of a batch of rays."""
    return parts_of(count, RUNS)
