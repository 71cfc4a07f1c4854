"""Train the neural field: signed distance from the recovered shape and its readings, colour by volume rendering of all pictures.

First geometry alone, coarse levels to fine: zero on the surface, the signed distance beside it, its sign far away, unit gradient. Then
colour joins: each ray is rendered in a thin shell round the surface and compared with its pixel; the difference moves colour, geometry
and a gain per camera and channel. Where no reading holds the surface, colour moves it more easily.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stages.core.field.field import Field
from stages.core.work import Work
from stages.surface.shape.rounds import Shape
from stages.surface.views.pixels import Pixels


@dataclass(frozen=True)
class Cube:
    """The unit cube of the field: x_cube = (x - low) / size. Private to this stage; distances in the cube are metres / size."""

    low: np.ndarray
    size: float

    @staticmethod
    def around(low: np.ndarray, high: np.ndarray) -> Cube:
        """Holds the box low..high in its middle with 2 % to spare."""
        size = 1.04 * float(np.max(high - low))
        return Cube((low + high) / 2 - size / 2, size)

    def inside(self, x: np.ndarray) -> np.ndarray:
        """Metres -> cube, float32."""
        return np.ascontiguousarray((x - self.low) / self.size, np.float32)


@dataclass(frozen=True)
class Schedule:
    """Steps and batch sizes; lengths in footprints."""

    geometry_steps: int
    colour_steps: int
    points: int
    rays: int
    samples: int = 8
    shell: float = 2.5
    """half thickness of the shell that is rendered"""
    steepness: float = 1.5
    """of the logistic, 1 / footprint"""
    colour_weight: float = 0.02
    eikonal_weight: float = 0.05
    normal_weight: float = 0.2
    first_levels: int = 5
    rate_grid: float = 1e-2
    rate_mlp: float = 2e-3


@dataclass(frozen=True)
class Lesson:
    """What a field learns from, and how: its cube, pixels of so many cameras (None: geometry alone), metres of a footprint."""

    cube: Cube
    pixels: Pixels | None
    cameras: int
    footprint: float
    schedule: Schedule

    @property
    def unit(self) -> float:
        """A footprint in the cube."""
        return self.footprint / self.cube.size


@dataclass
class Trained:
    """The field in its cube, gains (C, 3) per camera, and the log of the losses."""

    field: Field
    cube: Cube
    gain: np.ndarray
    log: list[dict[str, float]]


class Steps(Protocol):
    """The arithmetic of a training step on one backend: numba_steps.py, device/steps.py. Random draws come from `train`, so all backends
    see the same points and rays."""

    def levels(self, active: float) -> None:
        """Levels that take part in the coming step, the last one by its fraction."""
        ...

    def geometry(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray, normal: np.ndarray) -> None:
        """Losses on the samples of `SurfaceSamples.draw`."""
        ...

    def surface_colour(self, pick: np.ndarray) -> None:
        """Colour where the rays of pixels `pick` meet the present surface."""
        ...

    def rendered_colour(self, pick: np.ndarray, along: np.ndarray, ramp: float) -> None:
        """Volume rendering: samples `along (n, S)` metres before and behind the present surface; `ramp` 0-1 scales its pull on geometry."""
        ...

    def finish(self, lr_grid: float, lr_mlp: float) -> dict[str, Any]:
        """Move the parameters; the losses of the step as numbers or tensors."""
        ...

    def result(self) -> tuple[Field, np.ndarray]:
        """(the trained field, gains (C, 3))."""
        ...


def train(steps: Steps, source: SurfaceSamples, lesson: Lesson, levels: int, work: Work) -> Trained:
    """Train the field of `steps`, which has `levels`, with colours drawn from the pixels of the lesson."""
    rng, log = np.random.default_rng(work.seed), []
    schedule, pixels = lesson.schedule, 0 if lesson.pixels is None else len(lesson.pixels)
    total = schedule.geometry_steps + (schedule.colour_steps if pixels else 0)
    for step in range(total):
        warm = min(1.0, (step + 1) / max(1, 0.6 * schedule.geometry_steps))
        steps.levels(schedule.first_levels + warm * (levels - schedule.first_levels))
        steps.geometry(*source.draw(schedule.points, rng))
        if pixels and warm > 0.5:
            steps.surface_colour(rng.integers(0, pixels, schedule.rays))
        if step >= schedule.geometry_steps:
            ramp = min(1.0, (step - schedule.geometry_steps + 1) / 50)
            steps.rendered_colour(
                rng.integers(0, pixels, schedule.rays), _samples_along(schedule, lesson.footprint, rng), ramp
            )
        decay = 0.1 ** (step / total)
        losses = steps.finish(schedule.rate_grid * decay, schedule.rate_mlp * decay)
        if step % 25 == 0 or step == total - 1:
            log.append({"step": step, **{k: float(v) for k, v in losses.items()}})
            work.progress(step + 1, total, f"training the field, step {step + 1} of {total}")
    field, gain = steps.result()
    return Trained(field, source.cube, gain, log)


def _samples_along(schedule: Schedule, footprint: float, rng: np.random.Generator) -> np.ndarray:
    """(rays, samples) metres from the present surface, stratified over the shell."""
    n, s = schedule.rays, schedule.samples
    jitter = rng.random((n, 1)) - 0.5
    return footprint * schedule.shell * (2 * (np.arange(s) + 0.5 + 0.5 * jitter) / s - 1)


class SurfaceSamples:
    """Points with the signed distance they should have, in the cube: on the surface, beside it, and anywhere in the box."""

    def __init__(self, shape: Shape, cube: Cube, footprint: float) -> None:
        from scipy.spatial import cKDTree

        from stages.surface.shape.evolve import vertex_normals

        self.shape, self.cube, self.footprint = shape, cube, footprint
        self.normals = vertex_normals(shape.vertices, shape.faces)
        nearest = cKDTree(shape.read_at).query(shape.vertices)[1]
        sure = (footprint / np.maximum(shape.read_sigma[nearest], 0.1 * footprint)) ** 2
        self.trust = (0.2 + 0.8 * sure / (1 + sure)).astype(np.float32)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(x (count, 3) in the cube, target (count,), weight (count,), normal (3 count // 4, 3) of those near the surface).

        The first 3 of 4 lie within a few voxels of the surface, the others anywhere in the box.
        """
        near = 3 * count // 4
        face = self.shape.faces[rng.integers(0, len(self.shape.faces), near)]
        corner = rng.dirichlet((1, 1, 1), near)
        on = np.einsum("nk,nki->ni", corner, self.shape.vertices[face])
        normal = np.einsum("nk,nki->ni", corner, self.normals[face])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        away = np.where(np.arange(near) % 3 == 0, 0.0, rng.normal(0, 1.5 * self.shape.grid.voxel, near))
        far = self.shape.grid.origin + rng.random((count - near, 3)) * (self.shape.grid.high - self.shape.grid.origin)
        target = np.concatenate([away, self.shape.grid.sample(self.shape.distance, far)])
        trust = np.concatenate([self.trust[face[:, 0]], np.full(count - near, 0.1)])
        x = np.concatenate([on + away[:, None] * normal, far])
        return self.cube.inside(x), (target / self.cube.size).astype(np.float32), trust.astype(np.float32), normal


def project(field: Field, cube: Cube, vertices: np.ndarray, reach: float, iterations: int = 3) -> np.ndarray:
    """Vertices (V, 3) metres moved onto the field's zero set by Newton steps, at most `reach` metres from where they were."""
    x = vertices.copy()
    for _ in range(iterations):
        value, gradient = field.sdf_and_gradient(cube.inside(x))
        norm = np.maximum((gradient**2).sum(1), 0.25)
        x = x - cube.size * (value / norm)[:, None] * gradient
        shift = x - vertices
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        x = vertices + shift * np.minimum(1, reach / np.maximum(length, 1e-12))
    return x
