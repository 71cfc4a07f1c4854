"""Train the neural field: signed distance from the recovered shape and its readings, colour by volume rendering of all pictures.

First geometry alone, coarse levels to fine: zero on the surface, the signed distance beside it, its sign far away, unit gradient. Then
colour joins: each ray is rendered in a thin shell round the surface and compared with its pixel; the difference moves colour, geometry
and a gain per camera and channel. Where no reading holds the surface, colour moves it more easily.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.surface.field import Field
from stages.surface.pixels import Pixels
from stages.surface.shape import Shape
from stages.surface.taps import tap_gradient, tap_gradient_backward, tetrahedral_taps
from stages.surface.volume_rendering import render, render_backward


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


@dataclass
class Trained:
    """The field in its cube, gains (C, 3) per camera, and the log of the losses."""

    field: Field
    cube: Cube
    gain: np.ndarray
    log: list[dict[str, float]]


def train(
    field: Field,
    cube: Cube,
    shape: Shape,
    pixels: Pixels | None,
    cameras: int,
    footprint: float,
    schedule: Schedule,
    seed: int,
    progress: Callable[[int, int], None],
) -> Trained:
    """Train `field` in place. `pixels` None = geometry only."""
    rng = np.random.default_rng(seed)
    state = Trained(field, cube, np.ones((cameras, 3), np.float32), [])
    source = SurfaceSamples(shape, cube, footprint)
    coloured = pixels is not None and len(pixels) > 0
    total = schedule.geometry_steps + (schedule.colour_steps if coloured else 0)
    for step in range(total):
        warm = min(1.0, (step + 1) / max(1, 0.6 * schedule.geometry_steps))
        field.active_levels = schedule.first_levels + warm * (field.shape.levels - schedule.first_levels)
        entry = _geometry_step(field, source, schedule, footprint / cube.size, rng)
        if coloured and warm > 0.5:
            entry |= _surface_colour_step(field, cube, pixels, state.gain, schedule.rays, rng)
        if step >= schedule.geometry_steps:
            ramp = min(1.0, (step - schedule.geometry_steps + 1) / 50)
            entry |= _colour_step(state, pixels, schedule, footprint, ramp, rng)
        decay = 0.1 ** (step / total)
        field.step(lr_grid=schedule.rate_grid * decay, lr_mlp=schedule.rate_mlp * decay)
        if step % 25 == 0 or step == total - 1:
            state.log.append({"step": step, **entry})
            progress(step + 1, total)
    return state


class SurfaceSamples:
    """Points with the signed distance they should have, in the cube: on the surface, beside it, and anywhere in the box."""

    def __init__(self, shape: Shape, cube: Cube, footprint: float) -> None:
        from scipy.spatial import cKDTree

        from stages.surface.evolve import vertex_normals

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


def _geometry_step(
    field: Field, source: SurfaceSamples, schedule: Schedule, unit: float, rng: np.random.Generator
) -> dict[str, float]:
    """Huber loss on the signed distance (in footprints); gradient like the normal near the surface and of length 1 afar. Accumulates."""
    x, target, weight, normal = source.draw(schedule.points, rng)
    tape = field.forward(x, features=False)
    error = (tape.sdf - target) / unit
    field.backward(tape, (weight * np.clip(error, -1, 1) / (unit * len(x))).astype(np.float32))
    near, far = len(x) // 5, len(x) // 20
    taps = field.forward(tetrahedral_taps(np.concatenate([x[:near], x[-far:]]), unit), features=False)
    gradient = tap_gradient(taps.sdf, unit)
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    turned, excess = gradient[:near] - normal[:near], length[near:] - 1
    d_near = schedule.normal_weight * 2 * turned / near
    d_far = schedule.eikonal_weight * 2 * np.clip(excess, -1, 1) * gradient[near:] / np.maximum(length[near:], 1e-6) / far
    d_gradient = np.concatenate([d_near, d_far]).astype(np.float32)
    field.backward(taps, tap_gradient_backward(d_gradient, unit).astype(np.float32))
    return {
        "distance": float(np.mean(np.abs(error) * weight)),
        "normal": float(np.mean(turned**2)),
        "eikonal": float(np.mean((length - 1) ** 2)),
    }


def _surface_colour_step(
    field: Field, cube: Cube, pixels: Pixels, gain: np.ndarray, count: int, rng: np.random.Generator
) -> dict[str, float]:
    """Colour where each pixel's ray meets the present surface: one point a ray, so colour is known before rays are rendered."""
    pick = rng.integers(0, len(pixels), count)
    ray = pixels.ray[pick]
    tape = field.forward(cube.inside(pixels.eye[pick] + pixels.depth[pick][:, None] * ray), features=True)
    ctape = field.colour_forward(tape.geo, np.zeros((count, 3), np.float32), ray.astype(np.float32))
    scale = gain[pixels.camera[pick]]
    error = ctape.rgb * scale - pixels.colour[pick]
    d_geo, _ = field.colour_backward(ctape, (_huber_slope(error) * scale / count).astype(np.float32))
    field.backward(tape, np.zeros(count, np.float32), d_geo)
    return {"surface_colour": float(np.abs(error).mean())}


def _huber_slope(error: np.ndarray) -> np.ndarray:
    """Quadratic below 5 % of full scale, linear above."""
    return np.clip(error / 0.05, -1, 1)


def _colour_step(
    state: Trained, pixels: Pixels, schedule: Schedule, footprint: float, ramp: float, rng: np.random.Generator
) -> dict[str, float]:
    """Render a batch of rays and push the difference into colour, geometry and gains. Accumulates gradients."""
    field, cube, unit = state.field, state.cube, footprint / state.cube.size
    pick = rng.integers(0, len(pixels), schedule.rays)
    n, s = schedule.rays, schedule.samples
    jitter = rng.random((n, 1)) - 0.5
    along = footprint * schedule.shell * (2 * (np.arange(s) + 0.5 + 0.5 * jitter) / s - 1)
    x = pixels.eye[pick][:, None] + (pixels.depth[pick][:, None] + along)[..., None] * pixels.ray[pick][:, None]
    tape = field.forward(cube.inside(x.reshape(-1, 3)), features=True)
    inner = (np.arange(n * s).reshape(n, s)[:, :-1]).ravel()
    view = np.repeat(pixels.ray[pick].astype(np.float32), s - 1, 0)
    ctape = field.colour_forward(np.ascontiguousarray(tape.geo[:, inner]), np.zeros_like(view), view)
    rgb, steepness = ctape.rgb.reshape(n, s - 1, 3), schedule.steepness / unit
    made = render(tape.sdf.reshape(n, s), rgb, steepness)
    gain = state.gain[pixels.camera[pick]]
    error = made.colour * gain - pixels.colour[pick]
    slope = _huber_slope(error)
    d_colour = (slope * gain / n).astype(np.float32)
    d_sdf, d_rgb = render_backward(made, rgb, steepness, d_colour)
    d_inner, _ = field.colour_backward(ctape, np.ascontiguousarray(d_rgb.reshape(-1, 3), np.float32))
    d_geo = np.zeros_like(tape.geo)
    d_geo[:, inner] = d_inner
    field.backward(tape, (ramp * schedule.colour_weight * d_sdf.ravel()).astype(np.float32), np.ascontiguousarray(d_geo))
    _update_gain(state.gain, pixels.camera[pick], slope * made.colour)
    return {"colour": float(np.abs(error).mean())}


def _update_gain(gain: np.ndarray, camera: np.ndarray, slope: np.ndarray, rate: float = 0.02) -> None:
    """A small step of each camera's gain against its mean slope; the mean gain of all cameras stays 1, or colour and gain would drift."""
    for channel in range(3):
        total = np.bincount(camera, slope[:, channel], len(gain))
        gain[:, channel] -= rate * total / np.maximum(np.bincount(camera, minlength=len(gain)), 1)
    gain /= gain.mean(0)


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
