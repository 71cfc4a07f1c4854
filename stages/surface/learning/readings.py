"""Depth of all views as readings in the field's cube: where a ray met the object, how surely, and with which colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.surface.learning.placed import Placed
from stages.surface.training.train import Cube
from stages.surface.views.views import View

MOST_A_VIEW = 100_000
"""depth pixels kept of a view, evenly; 20 bytes each"""
CLEAR = 3.0
"""standard deviations before a reading up to which its ray has met nothing"""


@dataclass(frozen=True)
class Readings:
    """eye (N, 3), ray (N, 3) unit, along (N,), sigma (N,) in the cube; colour (N, 3) 0-1; camera (N,) int32."""

    eye: np.ndarray
    ray: np.ndarray
    along: np.ndarray
    sigma: np.ndarray
    colour: np.ndarray
    camera: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """(N, 3) float32: where the surface was read."""
        return (self.eye + self.along[:, None] * self.ray).astype(np.float32)

    def before(self, share: np.ndarray, near: float) -> np.ndarray:
        """(N, 3) float32 places that the ray passed through before it met the object: `share (N,)` of the way up to there, which is looked
        at from `near` (in the cube) before the reading on."""
        last = self.along - CLEAR * self.sigma
        first = np.minimum(last, self.along - near)
        at = first + share * (last - first)
        return (self.eye + at[:, None] * self.ray).astype(np.float32)


class ReadingSource:
    """The depth pixels of the views, drawn through the cameras where they stand now."""

    def __init__(self, views: Sequence[View], placed: Placed, cube: Cube) -> None:
        parts = [_of_view(i, v, cube) for i, v in enumerate(views)]
        self._placed = placed
        self._camera, self._slope, self._depth, self._sigma, self._colour = (
            np.concatenate(p) for p in zip(*parts, strict=True)
        )
        self._start = np.searchsorted(self._camera, np.arange(len(views) + 1))

    def __len__(self) -> int:
        return len(self._camera)

    def draw(self, count: int, rng: np.random.Generator) -> Readings:
        """So many readings of all views."""
        return self._taken(rng.integers(0, len(self), count))

    def of_each(self, count: int, rng: np.random.Generator) -> Readings:
        """At most `count` readings of every view, camera by camera."""
        spans = zip(self._start[:-1], self._start[1:], strict=True)
        return self._taken(np.concatenate([np.sort(rng.integers(a, b, min(count, b - a))) for a, b in spans if b > a]))

    def _taken(self, index: np.ndarray) -> Readings:
        camera, slope = self._camera[index], self._slope[index]
        local = np.concatenate([slope, np.ones((len(index), 1), np.float32)], 1)
        length = np.linalg.norm(local, axis=1)
        ray = np.einsum("nij,nj->ni", self._placed.turn[camera], local / length[:, None])
        eye = self._placed.eye[camera]
        colour = self._colour[index].astype(np.float32) / 255
        return Readings(
            eye, ray, self._depth[index] * length, self._sigma[index] * length, colour=colour, camera=camera
        )


def _of_view(camera: int, view: View, cube: Cube) -> tuple[np.ndarray, ...]:
    """(camera, slope (N, 2), depth, sigma, colour) of a view's pixels with depth, z in the cube."""
    known = np.isfinite(view.depth) & np.isfinite(view.sigma) & (view.outline > 0)
    if view.hidden is not None:
        known &= ~view.hidden
    v, u = np.nonzero(known)
    every = max(1, -(-len(u) // MOST_A_VIEW))
    v, u = v[::every], u[::every]
    rig = view.rig
    slope = np.stack([(u - rig.cx) / rig.fx, (v - rig.cy) / rig.fy], -1).astype(np.float32)
    depth, sigma = (a[v, u].astype(np.float32) / np.float32(cube.size) for a in (view.depth, view.sigma))
    return np.full(len(u), camera, np.int32), slope, depth, sigma, view.left[v, u]
