"""A field that learns from pictures: signed distance and colour of all views' pixels and outlines, from the visual hull on.

No depth is asked for; where it is given (`Depth`) it holds the zero set, keeps free what its rays passed through, and sets the cameras
right on the way. The field begins as the hull's signed distance; then rays are rendered with ever steeper opacity while finer levels of
the grid join in, so that the shape is found coarse to fine. What the outlines rule out stays empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.field.field_shape import FieldShape
from stages.core.field.hash_grid import GridLayout
from stages.core.field.thread_team import ThreadTeam
from stages.core.work import Work
from stages.surface.learning.placed import Placed
from stages.surface.learning.pose_refinement import PoseRefinement
from stages.surface.learning.rays import Rays, RaySource
from stages.surface.learning.readings import ReadingSource
from stages.surface.learning.space import CELLS, Space, trilinear_all
from stages.surface.learning.steps import LearningSteps
from stages.surface.shape.grid import Grid
from stages.surface.training.train import Cube
from stages.surface.views.views import View

DRAWN = 2.5
"""rays drawn for one that is used: some pixels say nothing sure, some rays cannot meet the object"""
WARM_STEPS, WARM_POINTS = 150, 8192
WARM_BAND = 0.03
"""half thickness, in the cube, of the shell round the hull that half of the first points lie in"""
REFRESH = 25
"""steps after which the remembered distances are asked for anew"""
MARGIN = 0.02
"""of the cube's edge: how far outside the hull the surface may yet lie"""


@dataclass(frozen=True)
class LearningPlan:
    """Steps and batches. Steepness in 1 / cube at the start, 1 / footprint at the end."""

    steps: int = 1500
    rays: int = 1024
    samples: int = 24
    first_steepness: float = 40.0
    last_steepness: float = 1.6
    least_steepness: float = 375.0
    """1 / cube: the last one is no less; where footprints are large a surface would stay a cloud"""
    first_levels: int = 8
    levels_by: float = 0.5
    """share of the steps after which all levels take part"""
    steep_by: float = 0.85
    """share of the steps after which the steepness is the last one"""
    rate_grid: float = 1e-2
    rate_mlp: float = 2e-3
    readings: int = 2048
    """depth readings a step, and as many places before them"""
    passed: float = 0.2
    """how far before a reading its ray is kept free, of the cube's edge"""
    refine_from: float = 0.4
    """share of the steps after which cameras are moved: before, the field is too coarse to say anything of them"""
    refine_every: int = 10

    def levels(self, done: float, shape: FieldShape) -> float:
        """Levels that take part when this share of the steps is done."""
        return self.first_levels + min(1.0, done / self.levels_by) * (shape.levels - self.first_levels)

    def steepness(self, done: float, unit: float) -> float:
        """1 / cube; `unit`: a footprint in the cube."""
        ramp = min(1.0, done / self.steep_by)
        return self.first_steepness ** (1 - ramp) * max(self.last_steepness / unit, self.least_steepness) ** ramp


class Depth:
    """What depth adds to a training: readings of `views` through the cameras `placed`, and their refinement."""

    def __init__(self, views: Sequence[View], placed: Placed, cube: Cube, unit: float, refine: bool) -> None:
        self.source, self._unit = ReadingSource(views, placed, cube), unit
        self._refinement = PoseRefinement(placed, self.source, unit) if refine else None

    def teach(self, steps: LearningSteps, plan: LearningPlan, rng: np.random.Generator) -> None:
        """The losses of one step."""
        read = self.source.draw(plan.readings, rng)
        free = read.before(rng.random(plan.readings, np.float32), plan.passed)
        inside = ((free > 0) & (free < 1)).all(1)
        steps.measured(read.points, read.sigma.astype(np.float32), self._unit, free[inside])

    def refine(
        self, steps: LearningSteps, plan: LearningPlan, step: int, reach: float, rng: np.random.Generator
    ) -> None:
        """Move the cameras when it is time to."""
        if self._refinement is None or step % plan.refine_every or step < plan.refine_from * plan.steps:
            return
        self._refinement.once(steps, reach, rng)


class Learning:
    """One training: the loop and its draws. `bound`: the hull's distance in the cube (CELLS, CELLS, CELLS); `unit`: a footprint there."""

    def __init__(
        self,
        source: RaySource,
        bound: np.ndarray,
        unit: float,
        shape: FieldShape,
        plan: LearningPlan,
        work: Work,
        depth: Depth | None = None,
    ) -> None:
        self._plan, self._shape, self._unit, self._depth = plan, shape, unit, depth
        self._space, self._source = Space(bound, MARGIN), source
        self._scale = GridLayout.of(
            shape.levels, shape.log2_entries, shape.base_resolution, shape.finest_resolution
        ).scale
        self._rng, self._team = np.random.default_rng(work.seed), ThreadTeam(work.workers)
        self.log: list[dict[str, float]] = []

    def run(self, steps: LearningSteps, progress: Callable[[int, int], None]) -> None:
        """All steps of the plan."""
        plan = self._plan
        self._begin(steps)
        for step in range(plan.steps):
            done = step / plan.steps
            steps.levels(plan.levels(done, self._shape))
            if step % REFRESH == 0:
                self._space.refresh(steps.sdf)
            if self._depth is not None:
                self._depth.refine(steps, plan, step, self._reach(done), rng=self._rng)
                self._depth.teach(steps, plan, self._rng)
            self._one(steps, done)
            losses = steps.finish(plan.rate_grid * 0.1**done, plan.rate_mlp * 0.1**done)
            if step % 50 == 0 or step == plan.steps - 1:
                self.log.append({"step": step, **{k: float(v) for k, v in losses.items()}})
                progress(step + 1, plan.steps)

    def _one(self, steps: LearningSteps, done: float) -> None:
        plan, rng = self._plan, self._rng
        steepness = plan.steepness(done, self._unit)
        rays, along = self._rays(steepness)
        if len(rays):
            steps.observe(rays, along, steepness)
        pick = along[np.arange(len(rays)), rng.integers(0, plan.samples, len(rays))]
        near = np.concatenate([rays.eye + pick[:, None] * rays.ray, self._space.draw(plan.rays // 4, rng)])
        free = rng.random((plan.rays // 2, 3), np.float32)
        steps.regular(near, self._reach(done), free, trilinear_all(self._space.bound, free))

    def _reach(self, done: float) -> float:
        """A cell of the finest level that takes part, in the cube."""
        finest = self._scale[min(int(np.ceil(self._plan.levels(done, self._shape))), self._shape.levels) - 1]
        return max(self._unit, 1 / float(finest))

    def _rays(self, steepness: float) -> tuple[Rays, np.ndarray]:
        """Rays that can meet the object and their samples: placed by what is remembered, at half the steepness, for that may be old."""
        rays = self._source.draw(round(DRAWN * self._plan.rays), self._rng)
        jitter = self._rng.random((len(rays), self._plan.samples), np.float32)
        along, found = self._space.place(rays, jitter, min(steepness / 2, CELLS), self._team)
        kept = np.flatnonzero(found)[: self._plan.rays]
        return rays.taken(kept), along[kept]

    def _begin(self, steps: LearningSteps) -> None:
        """Teach the field the hull."""
        rng, bound, half = self._rng, self._space.bound, WARM_POINTS // 2
        steps.levels(self._plan.first_levels)
        shell = (np.argwhere(np.abs(bound) < WARM_BAND) / (CELLS - 1)).astype(np.float32)
        for _ in range(WARM_STEPS):
            near = shell[rng.integers(0, len(shell), half)] + rng.normal(0, WARM_BAND / 3, (half, 3))
            x = np.concatenate([near, rng.random((half, 3))]).astype(np.float32)
            steps.distance(x, trilinear_all(bound, x))
            steps.finish(self._plan.rate_grid, self._plan.rate_mlp)


def hull_distance(grid: Grid, distance: np.ndarray, cube: Cube) -> np.ndarray:
    """(CELLS, CELLS, CELLS) float32 signed distance in the cube from the surface of `distance` on `grid`; outside the grid is outside."""
    from scipy.ndimage import distance_transform_edt

    axes, out = np.linspace(0, 1, CELLS), np.empty((CELLS,) * 3, np.float32)
    for i, a in enumerate(axes):
        plane = np.stack(np.meshgrid([a], axes, axes, indexing="ij"), -1).reshape(-1, 3) * cube.size + cube.low
        out[i] = grid.sample(distance, plane).reshape(CELLS, CELLS)
    inside = out < 0
    far = np.asarray(distance_transform_edt(~inside)) - np.asarray(distance_transform_edt(inside))
    return ((far - 0.5 * np.sign(far)) / (CELLS - 1)).astype(np.float32)
