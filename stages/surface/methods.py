"""The methods of the surface: from views and sparse points to the mesh that is handed on, its field beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import StageContext, StageError
from stages.core.render import Caster
from stages.surface.backend import choose
from stages.surface.config import PARTS, SurfaceConfig
from stages.surface.learned_shape import FromPictures
from stages.surface.neural import train_field
from stages.surface.pictures import four_sides
from stages.surface.schedule import learns_from_pictures, rounds_of_learned, schedule_rounds
from stages.surface.shape.bounds import Bounds, Unbounded
from stages.surface.shape.colours import vertex_colours
from stages.surface.shape.field_grid import save_grid
from stages.surface.shape.meshing import Mesh, ReadSurface, keep_supported
from stages.surface.shape.rounds import Evidence, Plan, Shape, recover_shape
from stages.surface.shape.tsdf import fuse_tsdf
from stages.surface.views.views import View

VIEWS_PER_HULL_RANK = 10
"""with fewer views each outline bounds a part of its own: asking three of ten to agree would leave their cones standing as wings"""


@dataclass
class Job:
    """What a method is given: views, points (P, 3) of the bundle adjustment, metres of a footprint, whether depth gives the shape. What it
    leaves beside the mesh: the field in `folder`, figures in `metrics`, and in `moved` {frame: object_from_left} where it moved cameras,
    `views` with them."""

    views: list[View]
    points: np.ndarray
    footprint: float
    by_depth: bool
    config: SurfaceConfig
    context: StageContext
    folder: Path
    metrics: dict[str, Any]
    moved: dict[int, np.ndarray] = field(default_factory=dict)


def fusion(job: Job) -> Mesh:
    """The grid's own mesh; the field artifact is the grid."""
    shape = _recovered(job, None)
    save_grid(job.folder, shape.grid, shape.distance)
    return _kept(job, shape)


def neural(job: Job) -> Mesh:
    """The neural field trained on shape and colours, and the mesh of its zero set."""
    learner = _learner(job)
    shape = _recovered(job, learner)
    if learner is not None:
        job.moved |= learner.moved
        job.views = learner.placed(job.views)
    backend, work = choose(job.config.backend), job.context.work.stretch(60, 85, of=PARTS)
    vertices, metrics = train_field(
        job.views, shape, job.footprint, job.config, backend=backend, work=work, folder=job.folder
    )
    job.metrics |= metrics
    return _kept(job, replace(shape, vertices=vertices))


def tsdf(job: Job) -> Mesh:
    """Open3D's fusion of the same depth; the field artifact is its grid."""
    job.context.progress(30, PARTS, "TSDF fusion")
    found = fuse_tsdf(job.views, job.config.voxel_px * job.footprint)
    save_grid(job.folder, found.grid, found.distance)
    mesh = _kept(job, found)
    job.metrics["tsdf_voxel_mm"] = round(1000 * found.grid.voxel, 3)
    return mesh


METHODS: dict[str, Callable[[Job], Mesh]] = {"neural": neural, "fusion": fusion, "tsdf": tsdf}


def _recovered(job: Job, learner: FromPictures | None) -> Shape:
    """The grid's surface. Raises StageError where there is none, or one larger than the settings allow."""
    context = job.context
    done = iter(range(10, 60, 10) if learner is None else (10, 45, 50, 55))

    def told(note: str) -> None:
        context.progress(next(done, 60), PARTS, note)

    try:
        shape = recover_shape(
            job.views, job.points, _plan(job, learner), context.workers, progress=told, learner=learner
        )
    except Unbounded as e:
        raise StageError(f"no surface was made: {e}", e.advice) from e
    except ValueError as e:
        raise StageError(f"no surface could be found: {e}", "check the masks and poses in their reports") from e
    if np.isfinite(shape.thinnest):
        job.metrics["thinnest_part_mm"] = round(1000 * shape.thinnest, 2)
    for i, entry in enumerate(shape.log):
        job.metrics |= {f"round_{i + 1}_{k}": round(v, 4) for k, v in entry.items()}
    return shape


def _plan(job: Job, learner: FromPictures | None) -> Plan:
    c = job.config
    evidence = Evidence(
        c.use_depth and job.by_depth,
        c.use_colour,
        c.use_outlines,
        c.use_points,
        right_eyes=c.use_right,
        outline_px=c.outline_sigma_px,
    )
    return Plan(
        schedule_rounds(c, job.by_depth) if learner is None else rounds_of_learned(c),
        evidence,
        c.smooth,
        hull_rank=max(1, min(c.hull_rank, len(job.views) // VIEWS_PER_HULL_RANK)),
        coarse_cells=c.coarse_cells,
        bounds=Bounds(c.max_cells, c.max_vertices),
    )


def _learner(job: Job) -> FromPictures | None:
    """What learns the first shape from the pictures; None where the rounds begin with the hull."""
    c = job.config
    if not learns_from_pictures(c, job.by_depth):
        return None
    backend, observed = choose(c.backend), c.field == "observations"
    if observed and not job.by_depth:
        raise StageError("surface.field=observations needs depth, and no frame has any", "use surface.field=pictures")
    job.metrics["field_learns_from"] = "observations" if observed else "pictures"
    return FromPictures(
        job.views,
        job.footprint,
        c,
        backend,
        work=job.context.work.stretch(10, 45, of=PARTS),
        metrics=job.metrics,
        glance=_glance(job),
        by_depth=observed,
    )


def _glance(job: Job) -> Callable[[int, Callable[[], tuple[np.ndarray, np.ndarray]]], None]:
    """Writes a progress picture of what is learned so far, where any are asked for."""
    aside, before = job.context.aside, 0

    def glance(step: int, mesh: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
        nonlocal before
        if aside is None or not aside.due(step, before):
            return
        before = step
        vertices, faces = mesh()
        if len(faces):
            caster = Caster(vertices, faces)
            colours = vertex_colours(vertices, faces, job.views, 3 * job.footprint, workers=job.context.workers)
            aside.write(f"surface_step_{step:05d}", {"normal": four_sides(caster), "kd": four_sides(caster, colours)})

    return glance


def _kept(job: Job, surface: ReadSurface) -> Mesh:
    return keep_supported(surface, job.views, job.footprint, job.config.least_part, workers=job.context.workers)
