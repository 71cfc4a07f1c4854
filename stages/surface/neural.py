"""The neural method: a field trained on the recovered shape and the pictures; its zero set is the mesh, itself an artifact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.work import Work
from stages.surface.backend import Choice, make_steps
from stages.surface.config import SurfaceConfig
from stages.surface.field.field_files import save_field
from stages.surface.shape.evolve import umbrella
from stages.surface.shape.rounds import Shape
from stages.surface.training.train import Cube, Lesson, Schedule, SurfaceSamples, Trained, project, train
from stages.surface.views.pixels import pick
from stages.surface.views.views import View

PIXELS_PER_CAMERA = 5000
EDGE_PX = 3.0
FINEST_CELL = 2.0
"""cell of the finest level, footprints: finer than the pictures can say only fits noise"""
REACH = 3.0
"""footprints that a vertex may move onto the field's zero set; further away is another sheet"""


def train_field(
    views: Sequence[View],
    shape: Shape,
    footprint: float,
    config: SurfaceConfig,
    backend: Choice,
    work: Work,
    folder: Path,
) -> tuple[np.ndarray, dict[str, Any]]:
    """(vertices (V, 3) of the shape's mesh moved onto the field's zero set, metrics); writes the field into `folder`."""
    cube = Cube.around(shape.grid.origin, shape.grid.high)
    sizes = FieldShape(
        log2_entries=config.field_log2_entries, finest_resolution=max(64, round(cube.size / (FINEST_CELL * footprint)))
    )
    field = Field.create(sizes, work.seed, 0.3, work.workers)
    pixels = pick(
        views, shape.vertices, shape.faces, PIXELS_PER_CAMERA, edge_px=EDGE_PX, seed=work.seed, workers=work.workers
    )
    schedule = Schedule(
        config.geometry_steps,
        config.colour_steps,
        config.batch_points,
        config.batch_rays,
        colour_weight=config.colour_weight,
    )
    lesson = Lesson(cube, pixels, 2 * len(views), footprint, schedule=schedule)
    steps = make_steps(backend, field, lesson, config, threads=work.workers)
    trained = train(steps, SurfaceSamples(shape, cube, footprint), lesson, sizes.levels, work=work)
    shift = _without_ripple(
        project(trained.field, cube, shape.vertices, REACH * footprint) - shape.vertices, shape.faces
    )
    _write(trained, folder)
    last = trained.log[-1]
    metrics = {
        "field_backend": f"{backend.name}: {backend.reason}",
        "field_distance_error_mm": 1000 * footprint * last["distance"],
        "field_eikonal": last["eikonal"],
        "field_colour_error": next((e["colour"] for e in reversed(trained.log) if "colour" in e), None),
        "field_moved_mean_mm": 1000 * float(np.linalg.norm(shift, axis=1).mean()),
        "exposure_spread": float(trained.gain.std()),
        "training_points": _evaluations(schedule),
    }
    return shape.vertices + shift, {k: round(v, 5) if isinstance(v, float) else v for k, v in metrics.items()}


def _without_ripple(shift: np.ndarray, faces: np.ndarray, passes: int = 4) -> np.ndarray:
    """The move (V, 3) of the vertices averaged over neighbours: the colours share the field's grid and leave a ripple of a few hundredths
    of a footprint on its zero set, at the scale of its finest cells."""
    average = umbrella(len(shift), faces)
    for _ in range(passes):
        shift = shift + 0.7 * (average @ shift)
    return shift


def _evaluations(schedule: Schedule) -> int:
    """Points put through the field in training, taps and samples of rays included."""
    a_step = 2 * schedule.points + schedule.rays
    return (
        schedule.geometry_steps + schedule.colour_steps
    ) * a_step + schedule.colour_steps * schedule.rays * schedule.samples


def _write(trained: Trained, folder: Path) -> None:
    save_field(trained.field, folder)
    path = folder / "field.json"
    about = json.loads(path.read_text())
    about |= {
        "kind": "neural",
        "cube_low_m": trained.cube.low.tolist(),
        "cube_size_m": trained.cube.size,
        "meaning": "signed distance in metres = cube_size_m * sdf((x_object - cube_low_m) / cube_size_m), positive outside",
    }
    path.write_text(json.dumps(about, indent=1))
