"""A training step from pictures on the numba kernels, gradients by hand: colour and opacity of rays, unit gradient, bend, free space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stages.core.field.field import Field
from stages.surface.field.taps import tap_gradient, tap_gradient_backward, tetrahedral_taps
from stages.surface.learning.rays import Rays
from stages.surface.learning.rendering import render, render_backward
from stages.surface.learning.space import runs

KNEE = 0.05
"""colour losses are quadratic below 5 % of full scale, linear above"""
BEND_KNEE = 0.05
"""as of a sphere with twenty taps' reach as its radius"""
FREE_KNEE = 0.02
LEAST_OPACITY = 1e-3


@dataclass(frozen=True)
class Weights:
    """Of the losses, against that of colour summed over its channels."""

    opacity: float = 0.3
    eikonal: float = 0.6
    bend: float = 0.02
    free: float = 1.0
    depth: float = 1.0


class LearningSteps(Protocol):
    """The arithmetic of a step on one backend. Random draws come from `learn`, so all backends see the same rays and samples."""

    def levels(self, active: float) -> None:
        """Levels that take part in the coming step, the last one by its fraction."""
        ...

    def sdf(self, x: np.ndarray) -> np.ndarray:
        """(N, 3) float32 points in the cube -> (N,) signed distance now."""
        ...

    def distance(self, x: np.ndarray, target: np.ndarray) -> None:
        """Huber loss on the signed distance (N,) of points, to begin with."""
        ...

    def observe(self, rays: Rays, along: np.ndarray, steepness: float) -> None:
        """Losses on colour and opacity of rays with samples `along (R, S)`."""
        ...

    def measured(self, x: np.ndarray, sigma: np.ndarray, unit: float, free: np.ndarray) -> None:
        """Distance zero at `x (N, 3)`, held as surely as `sigma (N,)` against `unit`, which is as sure as can be; not below zero at
        `free (M, 3)`."""
        ...

    def colours(self, x: np.ndarray, view: np.ndarray) -> np.ndarray:
        """(N, 3) colours 0-1 now, of points (N, 3) seen along unit rays (N, 3)."""
        ...

    def regular(self, near: np.ndarray, reach: float, free: np.ndarray, bound: np.ndarray) -> None:
        """Gradient of length 1, and little bend within `reach`, at `near (N, 3)`; at `free (M, 3)` a distance of at least `bound (M,)`."""
        ...

    def finish(self, lr_grid: float, lr_mlp: float) -> dict[str, Any]:
        """Move the parameters; the losses of the step as numbers or tensors."""
        ...

    def result(self) -> Field:
        """The trained field."""
        ...


class NumbaLearningSteps:
    """See LearningSteps. Gradients gather in the field until `finish`."""

    def __init__(self, field: Field, weights: Weights) -> None:
        self._field, self._weights = field, weights
        self._losses: dict[str, float] = {}

    def levels(self, active: float) -> None:
        """See LearningSteps."""
        self._field.active_levels = active

    def sdf(self, x: np.ndarray) -> np.ndarray:
        """See LearningSteps."""
        return self._field.sdf(x)

    def distance(self, x: np.ndarray, target: np.ndarray) -> None:
        """See LearningSteps."""
        tape = self._field.forward(x, features=False)
        self._field.backward(tape, (np.clip((tape.sdf - target) / FREE_KNEE, -1, 1) / len(x)).astype(np.float32))

    def observe(self, rays: Rays, along: np.ndarray, steepness: float) -> None:
        """See LearningSteps."""
        field, (n, s) = self._field, along.shape
        tape = field.forward((rays.eye[:, None] + along[..., None] * rays.ray[:, None]).reshape(-1, 3), features=True)
        inner = np.arange(n * s).reshape(n, s)[:, :-1].ravel()
        view = np.repeat(rays.ray, s - 1, 0)
        ctape = field.colour_forward(np.ascontiguousarray(tape.geo[:, inner]), np.zeros_like(view), view)
        sdf, rgb = tape.sdf.reshape(n, s), ctape.rgb.reshape(n, s - 1, 3)
        weight, colour, opacity = self._rendered(sdf, rgb, steepness)
        d_sdf, d_rgb = self._rendered_backward(sdf, rgb, steepness, weight, *self._compared(rays, colour, opacity))
        d_inner, _ = field.colour_backward(ctape, d_rgb.reshape(-1, 3))
        d_geo = np.zeros_like(tape.geo)
        d_geo[:, inner] = d_inner
        field.backward(tape, d_sdf.ravel(), d_geo)

    def _compared(self, rays: Rays, colour: np.ndarray, opacity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(d loss / d colour, d loss / d opacity): Huber on the colour inside the mask, cross-entropy on the opacity everywhere."""
        n, inside = len(rays), rays.inside
        error = np.where(inside[:, None], colour - rays.colour, 0)
        d_colour = np.clip(error / KNEE, -1, 1) / n
        o = np.clip(opacity, LEAST_OPACITY, 1 - LEAST_OPACITY)
        d_opacity = self._weights.opacity * np.where(inside, -1 / o, 1 / (1 - o)) / n
        d_opacity[(opacity != o) & (inside == (opacity > 0.5))] = 0
        count = max(1, int(inside.sum()))
        self._losses |= {
            "colour": float(np.abs(error).sum() / (3 * count)),
            "opacity": float(-np.log(np.where(inside, o, 1 - o)).mean()),
        }
        return d_colour.astype(np.float32), d_opacity.astype(np.float32)

    def regular(self, near: np.ndarray, reach: float, free: np.ndarray, bound: np.ndarray) -> None:
        """See LearningSteps."""
        field, weights, n = self._field, self._weights, len(near)
        taps = field.forward(np.concatenate([tetrahedral_taps(near, reach), near]), features=False)
        gradient = tap_gradient(taps.sdf[: 4 * n], reach)
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        d_gradient = weights.eikonal * 2 * np.clip(length - 1, -1, 1) * gradient / np.maximum(length, 1e-6) / n
        d_taps = tap_gradient_backward(d_gradient.astype(np.float32), reach)
        bend = (taps.sdf[: 4 * n].reshape(4, n).mean(0) - taps.sdf[4 * n :]) / reach
        d_bend = weights.bend * np.clip(bend / BEND_KNEE, -1, 1) / (n * reach)
        field.backward(taps, np.concatenate([d_taps + np.tile(d_bend / 4, 4), -d_bend]).astype(np.float32))
        tape = field.forward(free, features=False)
        short = np.maximum(bound - tape.sdf, 0)
        field.backward(tape, (-weights.free * np.minimum(short / FREE_KNEE, 1) / len(free)).astype(np.float32))
        self._losses |= {
            "eikonal": float(np.mean((length - 1) ** 2)),
            "bend": float(np.abs(bend).mean()),
            "free": float(short.mean()),
        }

    def measured(self, x: np.ndarray, sigma: np.ndarray, unit: float, free: np.ndarray) -> None:
        """See LearningSteps."""
        n, m, weights = len(x), len(free), self._weights
        tape = self._field.forward(np.concatenate([x, free]), features=False)
        sigma = np.maximum(sigma, unit)
        error, below = tape.sdf[:n], np.maximum(-tape.sdf[n:], 0)
        d_error = weights.depth * unit / sigma * np.clip(error / sigma, -1, 1) / n
        d_below = -weights.free * np.minimum(below / FREE_KNEE, 1) / m
        self._field.backward(tape, np.concatenate([d_error, d_below]).astype(np.float32))
        self._losses |= {"depth": float(np.abs(error).mean()), "passed": float(below.mean())}

    def colours(self, x: np.ndarray, view: np.ndarray) -> np.ndarray:
        """See LearningSteps."""
        _, geo = self._field.sdf_and_features(x)
        return self._field.colour(geo, np.zeros_like(view), view)

    def finish(self, lr_grid: float, lr_mlp: float) -> dict[str, float]:
        """See LearningSteps."""
        self._field.step(lr_grid=lr_grid, lr_mlp=lr_mlp)
        losses, self._losses = self._losses, {}
        return losses

    def result(self) -> Field:
        """See LearningSteps."""
        return self._field

    def _rendered(
        self, sdf: np.ndarray, rgb: np.ndarray, steepness: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n, s = sdf.shape
        weight, colour, opacity = (
            np.empty((n, s - 1), np.float32),
            np.empty((n, 3), np.float32),
            np.empty(n, np.float32),
        )
        parts, k = runs(n), np.float32(steepness)
        self._field.team.run(lambda job: render(sdf, rgb, k, *parts[job], weight, colour, opacity), len(parts))
        return weight, colour, opacity

    def _rendered_backward(
        self,
        sdf: np.ndarray,
        rgb: np.ndarray,
        steepness: float,
        weight: np.ndarray,
        d_colour: np.ndarray,
        d_opacity: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        d_sdf, d_rgb = np.empty_like(sdf), np.empty_like(rgb)
        parts, k = runs(len(sdf)), np.float32(steepness)

        def run(job: int) -> None:
            render_backward(sdf, rgb, k, *parts[job], weight, d_colour, d_opacity, d_sdf, d_rgb)

        self._field.team.run(run, len(parts))
        return d_sdf, d_rgb
