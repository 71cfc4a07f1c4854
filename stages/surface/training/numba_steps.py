"""A training step on the numba kernels: the losses of train.py with their gradients written out by hand."""

from __future__ import annotations

import numpy as np

from stages.core.field.field import Field
from stages.surface.field.taps import tap_gradient, tap_gradient_backward, tetrahedral_taps
from stages.surface.field.volume_rendering import render, render_backward
from stages.surface.training.train import Lesson

HUBER_COLOUR = 0.05
"""colour losses are quadratic below 5 % of full scale, linear above"""


class NumbaSteps:
    """See train.Steps. Gradients gather in the field until `finish`."""

    def __init__(self, field: Field, lesson: Lesson) -> None:
        self._field, self._cube, self._pixels, self._schedule = field, lesson.cube, lesson.pixels, lesson.schedule
        self._unit = lesson.unit
        self._gain = np.ones((lesson.cameras, 3), np.float32)
        self._losses: dict[str, float] = {}

    def levels(self, active: float) -> None:
        """See train.Steps."""
        self._field.active_levels = active

    def geometry(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray, normal: np.ndarray) -> None:
        """Huber loss on the signed distance (in footprints); gradient like the normal near the surface and of length 1 afar."""
        field, schedule, unit = self._field, self._schedule, self._unit
        tape = field.forward(x, features=False)
        error = (tape.sdf - target) / unit
        field.backward(tape, (weight * np.clip(error, -1, 1) / (unit * len(x))).astype(np.float32))
        near, far = len(x) // 5, len(x) // 20
        taps = field.forward(tetrahedral_taps(np.concatenate([x[:near], x[-far:]]), unit), features=False)
        gradient = tap_gradient(taps.sdf, unit)
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        turned, excess = gradient[:near] - normal[:near], length[near:] - 1
        d_near = schedule.normal_weight * 2 * turned / near
        d_far = (
            schedule.eikonal_weight
            * 2
            * np.clip(excess, -1, 1)
            * gradient[near:]
            / np.maximum(length[near:], 1e-6)
            / far
        )
        d_gradient = np.concatenate([d_near, d_far]).astype(np.float32)
        field.backward(taps, tap_gradient_backward(d_gradient, unit).astype(np.float32))
        self._losses |= {
            "distance": float(np.mean(np.abs(error) * weight)),
            "normal": float(np.mean(turned**2)),
            "eikonal": float(np.mean((length - 1) ** 2)),
        }

    def surface_colour(self, pick: np.ndarray) -> None:
        """One point a ray, so that colour is known before rays are rendered."""
        field, pixels, count = self._field, self._pixels, len(pick)
        ray = pixels.ray[pick]
        tape = field.forward(self._cube.inside(pixels.eye[pick] + pixels.depth[pick][:, None] * ray), features=True)
        ctape = field.colour_forward(tape.geo, np.zeros((count, 3), np.float32), ray.astype(np.float32))
        scale = self._gain[pixels.camera[pick]]
        error = ctape.rgb * scale - pixels.colour[pick]
        d_geo, _ = field.colour_backward(ctape, (_huber_slope(error) * scale / count).astype(np.float32))
        field.backward(tape, np.zeros(count, np.float32), d_geo)
        self._losses["surface_colour"] = float(np.abs(error).mean())

    def rendered_colour(self, pick: np.ndarray, along: np.ndarray, ramp: float) -> None:
        """Push the difference between rendered and seen colour into colour, geometry and gains."""
        field, pixels, schedule = self._field, self._pixels, self._schedule
        n, s = along.shape
        x = pixels.eye[pick][:, None] + (pixels.depth[pick][:, None] + along)[..., None] * pixels.ray[pick][:, None]
        tape = field.forward(self._cube.inside(x.reshape(-1, 3)), features=True)
        inner = (np.arange(n * s).reshape(n, s)[:, :-1]).ravel()
        view = np.repeat(pixels.ray[pick].astype(np.float32), s - 1, 0)
        ctape = field.colour_forward(np.ascontiguousarray(tape.geo[:, inner]), np.zeros_like(view), view)
        rgb, steepness = ctape.rgb.reshape(n, s - 1, 3), schedule.steepness / self._unit
        made = render(tape.sdf.reshape(n, s), rgb, steepness)
        gain = self._gain[pixels.camera[pick]]
        error = made.colour * gain - pixels.colour[pick]
        slope = _huber_slope(error)
        d_colour = (slope * gain / n).astype(np.float32)
        d_sdf, d_rgb = render_backward(made, rgb, steepness, d_colour)
        d_inner, _ = field.colour_backward(ctape, np.ascontiguousarray(d_rgb.reshape(-1, 3), np.float32))
        d_geo = np.zeros_like(tape.geo)
        d_geo[:, inner] = d_inner
        field.backward(
            tape, (ramp * schedule.colour_weight * d_sdf.ravel()).astype(np.float32), np.ascontiguousarray(d_geo)
        )
        _update_gain(self._gain, pixels.camera[pick], slope * made.colour)
        self._losses["colour"] = float(np.abs(error).mean())

    def finish(self, lr_grid: float, lr_mlp: float) -> dict[str, float]:
        """See train.Steps."""
        self._field.step(lr_grid=lr_grid, lr_mlp=lr_mlp)
        losses, self._losses = self._losses, {}
        return losses

    def result(self) -> tuple[Field, np.ndarray]:
        """See train.Steps."""
        return self._field, self._gain


def _huber_slope(error: np.ndarray) -> np.ndarray:
    return np.clip(error / HUBER_COLOUR, -1, 1)


def _update_gain(gain: np.ndarray, camera: np.ndarray, slope: np.ndarray, rate: float = 0.02) -> None:
    """A small step of each camera's gain against its mean slope; the mean gain of all cameras stays 1, or colour and gain would drift."""
    for channel in range(3):
        total = np.bincount(camera, slope[:, channel], len(gain))
        gain[:, channel] -= rate * total / np.maximum(np.bincount(camera, minlength=len(gain)), 1)
    gain /= gain.mean(0)
