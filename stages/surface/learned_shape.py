"""The surface that a field learns from the pictures, as the grid and the distances that the rounds of shape/rounds.py begin with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.geometry.rigid import rotation_angle, transform
from stages.core.work import Work
from stages.surface.backend import Choice
from stages.surface.config import SurfaceConfig
from stages.surface.learning.learn import MARGIN, Depth, Learning, LearningPlan, hull_distance
from stages.surface.learning.placed import Placed
from stages.surface.learning.rays import RaySource
from stages.surface.learning.space import CELLS, trilinear_all
from stages.surface.learning.steps import LearningSteps, NumbaLearningSteps, Weights
from stages.surface.shape.grid import Grid
from stages.surface.shape.initial import closed
from stages.surface.shape.meshing import marching
from stages.surface.training.train import Cube
from stages.surface.views.views import View

FINEST_CELL = 1.5
"""cell of the finest level, footprints"""
GLANCE_CELLS = 96
"""along the diagonal of the box, of a mesh that is only looked at while the field learns"""


@dataclass(frozen=True)
class FromPictures:
    """Learns the shape of `views`; `footprint` in metres. Metrics of the last run are put into `metrics`."""

    views: Sequence[View]
    footprint: float
    config: SurfaceConfig
    backend: Choice
    work: Work
    metrics: dict[str, Any]
    glance: Callable[[int, Callable[[], tuple[np.ndarray, np.ndarray]]], None] = lambda step, mesh: None
    """called with the step, and how to have the mesh of what is learned so far; it changes nothing"""
    by_depth: bool = False
    """learn from the depth of the views too, and set their cameras right if the settings say so"""
    moved: dict[int, np.ndarray] = field(default_factory=dict)
    """{frame: object_from_left} of the cameras that the last run moved"""

    def shape(self, hull: Grid, distance: np.ndarray, voxel: float) -> tuple[Grid, np.ndarray]:
        """(grid with cells of `voxel` metres, signed distance on it in metres) from the visual hull's `distance` on `hull`."""
        cube, config = Cube.around(hull.origin, hull.high), self.config
        bound = hull_distance(hull, distance, cube)
        finest = max(64, round(cube.size / (FINEST_CELL * self.footprint)))
        sizes = FieldShape(log2_entries=config.field_log2_entries, finest_resolution=finest)
        plan = LearningPlan(steps=config.picture_steps, rays=config.picture_rays)
        steps = self._steps(Field.create(sizes, self.work.seed, 0.3, self.work.workers))
        rough = Grid.covering(hull.origin, hull.high, float(np.linalg.norm(hull.high - hull.origin)) / GLANCE_CELLS)

        def told(step: int, count: int) -> None:
            self.work.progress(step, count, f"learning from the pictures, step {step} of {count}")
            self.glance(step, lambda: _mesh(_on_grid(steps, cube, bound, rough), rough))

        placed, refine = Placed(self.views, cube), self.by_depth and config.refine_poses
        source, unit = RaySource(self.views, placed), self.footprint / cube.size
        depth = Depth(self.views, placed, cube, unit, refine=refine) if self.by_depth else None
        learning = Learning(source, bound, unit, sizes, plan=plan, work=self.work, depth=depth)
        learning.run(steps, told)
        if refine:
            self._note_motions(placed, cube.low + cube.size / 2)
        last = learning.log[-1]
        names = ("colour", "opacity", "eikonal", "depth")
        self.metrics.update({f"learned_{k}_error": round(last[k], 5) for k in names if k in last})
        grid = Grid.covering(hull.origin, hull.high, voxel)
        return grid, without_small_parts(
            closed(_on_grid(steps.result(), cube, bound, grid), voxel), config.least_part, voxel
        )

    def placed(self, views: Sequence[View]) -> list[View]:
        """The views where the cameras stand after learning."""
        return [replace(v, object_from_left=self.moved.get(v.frame, v.object_from_left)) for v in views]

    def _note_motions(self, placed: Placed, middle: np.ndarray) -> None:
        """What the report says of them: turns, and shifts (mm) at the `middle` of the object's box."""
        self.moved.update(zip((v.frame for v in self.views), placed.poses(), strict=True))
        motions = placed.motions()
        degrees = np.degrees([rotation_angle(m) for m in motions])
        shifts = 1000 * np.linalg.norm([transform(m, middle) - middle for m in motions], axis=1)
        for name, values in (("degrees", degrees), ("mm", shifts)):
            for of, value in (("median", np.median(values)), ("max", values.max())):
                self.metrics[f"poses_moved_{name}_{of}"] = round(float(value), 4)

    def _steps(self, field: Field) -> LearningSteps:
        if self.backend.name == "numba":
            return NumbaLearningSteps(field, Weights())
        build = importlib.import_module("stages.surface.device.build")
        return build.device_learning_steps(self.backend.name, field, Weights(), self.config, threads=self.work.workers)


def _mesh(distance: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(vertices, faces); none where nothing is inside."""
    if not (distance < 0).any():
        return np.empty((0, 3)), np.empty((0, 3), np.int64)
    return marching(closed(distance, grid.voxel), grid)


def _on_grid(field: Field | LearningSteps, cube: Cube, bound: np.ndarray, grid: Grid) -> np.ndarray:
    """Signed distance in metres, plane by plane; where the outlines leave no room, at least what they say."""
    out = np.empty(grid.shape, np.float32)
    plane = grid.shape[1] * grid.shape[2]
    for i in range(grid.shape[0]):
        x = cube.inside(grid.points(np.arange(i * plane, (i + 1) * plane)))
        value = np.maximum(field.sdf(x), trilinear_all(bound, x) - (MARGIN + 1 / CELLS))
        out[i] = (value * cube.size).reshape(grid.shape[1:])
    return out


def without_small_parts(distance: np.ndarray, least: float, voxel: float) -> np.ndarray:
    """The field without separate parts smaller than `least` of the largest one's volume: what hangs in the air before a camera."""
    from scipy.ndimage import label

    parts, count = label(distance < 0)  # type: ignore[misc]
    if count < 2:
        return distance
    size = np.bincount(parts.ravel())
    size[0] = 0
    small = (size < least * size.max()) & (np.arange(len(size)) > 0)
    return np.where(small[parts], np.float32(voxel), distance)
