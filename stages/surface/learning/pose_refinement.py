"""Cameras set right against the field while it learns: a Gauss-Newton step each on the distance and the colour of what they read.

A reading of a camera that stands right lies on the field's zero set and has the field's colour there; where it does not, the camera is
moved by the six numbers that bring it there. Depth holds shape to shape, colour holds what slides along it (a turned bottle's label).
"""

from __future__ import annotations

import numpy as np

from stages.surface.field.taps import tap_gradient, tetrahedral_taps
from stages.surface.learning.placed import MIDDLE, Placed
from stages.surface.learning.readings import Readings, ReadingSource
from stages.surface.learning.steps import LearningSteps

A_CAMERA = 500
"""readings of each camera in a step"""
LEAST = 60
"""usable readings, below which a camera stays where it is"""
FAR = 4.0
"""standard deviations of a reading off the surface beyond which it is none of it"""
COLOUR_SIGMA = 0.04
KNEE = 2.0
"""Huber's, in standard deviations"""
STEP = 0.4
"""share of a step that is taken: the field follows the cameras, and the field's own noise must not shake them"""
HOLD = 1e-3
"""how firmly a camera stays, against what its readings say of it: it matters only where they say nothing"""


class PoseRefinement:
    """Moves `placed` by what `source` reads. `unit`: a footprint in the cube."""

    def __init__(self, placed: Placed, source: ReadingSource, unit: float) -> None:
        self._placed, self._source, self._unit = placed, source, unit

    def once(self, steps: LearningSteps, reach: float, rng: np.random.Generator) -> None:
        """One step of all cameras; differences are taken over `reach` in the cube."""
        read = self._source.of_each(A_CAMERA, rng)
        jacobian, error, camera = self._equations(steps, read, max(reach, self._unit))
        out = np.zeros((len(self._placed.eye), 6))
        for i in range(len(out)):
            mine = camera == i
            if mine.sum() >= LEAST:
                out[i] = STEP * _solved(jacobian[mine], error[mine])
        self._placed.move(out)

    def _equations(
        self, steps: LearningSteps, read: Readings, reach: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(jacobian (M, 4, 6), error (M, 4)) in standard deviations, of distance and three channels, and (M,) the camera."""
        x = read.points
        slope, distance = tap_gradient(steps.sdf(tetrahedral_taps(x, reach)), reach), steps.sdf(x)
        sigma = np.maximum(read.sigma, self._unit)
        length = np.linalg.norm(slope, axis=1)
        kept = np.flatnonzero((np.abs(distance) < FAR * sigma) & (length > 0.5) & (length < 2))
        normal = slope[kept] / length[kept, None]
        on, ray = (x[kept] - distance[kept, None] * normal).astype(np.float32), read.ray[kept].astype(np.float32)
        colours = steps.colours(tetrahedral_taps(on, reach), np.tile(ray, (4, 1))).reshape(4, len(kept), 3)
        error = colours.mean(0) - read.colour[kept]
        camera = read.camera[kept]
        for i in np.unique(camera):
            error[camera == i] -= np.median(error[camera == i], axis=0)
        rows = [(normal, distance[kept] / sigma[kept], sigma[kept])]
        for c in range(3):
            along = tap_gradient(colours[..., c], reach)
            along -= (along * normal).sum(1, keepdims=True) * normal
            rows.append((along, error[:, c] / COLOUR_SIGMA, np.full(len(kept), COLOUR_SIGMA)))
        arm = on - MIDDLE
        jacobian = np.stack([np.concatenate([np.cross(arm, g), g], 1) / s[:, None] for g, _, s in rows], 1)
        return jacobian, np.stack([e for _, e, _ in rows], 1), camera


def _solved(jacobian: np.ndarray, error: np.ndarray) -> np.ndarray:
    """(6,) the step that makes `error` least, by Huber's weights."""
    j, e = jacobian.reshape(-1, 6), error.reshape(-1)
    weight = np.minimum(1, KNEE / np.maximum(np.abs(e), 1e-9))
    normal = (j * weight[:, None]).T @ j
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-12))
    held = normal / np.outer(scale, scale) + HOLD * np.eye(6)
    return -np.linalg.solve(held, (j * weight[:, None]).T @ e / scale) / scale
