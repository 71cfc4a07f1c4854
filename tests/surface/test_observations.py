"""A field that learns from pictures and measured depth: it finds the surface, and sets cameras right that stood wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from stages.core.camera import Rig
from stages.core.camera_service import orbit
from stages.core.geometry.rigid import exp_se3, fit_rigid, rotation_angle, transform
from stages.core.render import Caster
from stages.core.work import Work
from stages.surface.backend import Choice
from stages.surface.config import SurfaceConfig
from stages.surface.learned_shape import FromPictures
from stages.surface.learning.placed import Placed
from stages.surface.learning.readings import CLEAR, ReadingSource
from stages.surface.shape.grid import Grid
from stages.surface.shape.initial import initial_distance
from stages.surface.training.train import Cube
from stages.surface.views.views import View, WholeFrame, make_view

RADIUS, NOISE_M = 0.05, 0.0004
FOOTPRINT = 0.4 / 300
LOW, HIGH = np.full(3, -0.065), np.full(3, 0.065)


def ball() -> trimesh.Trimesh:
    """Turned shape: depth alone cannot tell its turns about z, its pattern can."""
    mesh = trimesh.creation.icosphere(5, RADIUS)
    return trimesh.Trimesh(np.asarray(mesh.vertices) * (1, 1, 1.15), mesh.faces, process=False)


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Two rings of pictures with noisy depth."""
    mesh, rig, rng = ball(), Rig(150, 150, 300.0, 300.0, 74.5, 74.5, 0.1), np.random.default_rng(5)
    v = np.asarray(mesh.vertices)
    colours = 127 + 60 * np.stack([np.sin(v @ np.random.default_rng(k).normal(0, 200, 3) + k) for k in range(3)], 1)
    caster, made = Caster(v, np.asarray(mesh.faces)), []
    poses = [p for e in (-0.5, 0.4) for p in orbit(np.zeros(3), 0.4, 10, np.array([0, 0, 1.0]), e)]
    for k, pose in enumerate(poses):
        hit = caster.view(pose, rig)
        mask = np.isfinite(hit["t"])
        picture = np.where(mask[..., None], caster.interpolate(hit, colours), 255).clip(0, 255).astype(np.uint8)
        depth = np.where(mask, hit["t"] + rng.normal(0, NOISE_M, mask.shape), np.nan)
        disparity = (rig.fx * rig.baseline_m / depth).astype(np.float32)
        sigma = np.where(mask, NOISE_M * disparity / depth, np.nan).astype(np.float32)
        made.append(make_view(WholeFrame(k, pose, (picture, None), mask, 1.0, disparity, sigma), rig, 100_000, 2.0))
    return made


def learned(
    views: list[View], steps: int = 500, threads: int = 2, refine_poses: bool = True
) -> tuple[Grid, np.ndarray, FromPictures]:
    """(grid, learned distance, what learned it)."""
    hull = Grid.covering(LOW, HIGH, 0.003)
    distance = initial_distance(views, hull, FOOTPRINT, 1, 1)
    config = SurfaceConfig(
        field="observations", picture_steps=steps, picture_rays=256, field_log2_entries=14, refine_poses=refine_poses
    )
    learner = FromPictures(views, FOOTPRINT, config, Choice("numba", ""), Work(threads), {}, by_depth=True)
    return *learner.shape(hull, distance, 0.0015), learner


def shaken(views: list[View]) -> list[View]:
    """Every camera 0.3 degrees and 1 mm off, as seen at the object."""
    rng, out = np.random.default_rng(8), []
    for v in views:
        turn, shift = rng.normal(size=3), rng.normal(size=3)
        step = np.concatenate([np.radians(0.3) * turn / np.linalg.norm(turn), 1e-3 * shift / np.linalg.norm(shift)])
        out.append(replace(v, object_from_left=exp_se3(step) @ v.object_from_left))
    return out


def errors(found: list[View], truth: list[View]) -> tuple[np.ndarray, np.ndarray]:
    """(degrees, mm at the object's points) of every camera, the object frame brought to the true one."""
    points = np.asarray(ball().vertices)[::50]
    there = [
        (transform(f.object_from_left @ np.linalg.inv(t.object_from_left), points), points)
        for f, t in zip(found, truth, strict=True)
    ]
    frame = fit_rigid(np.concatenate([a for a, _ in there]), np.concatenate([b for _, b in there]))
    gaps = [frame @ f.object_from_left @ np.linalg.inv(t.object_from_left) for f, t in zip(found, truth, strict=True)]
    off = [1000 * np.linalg.norm(transform(g, points) - points, axis=1).mean() for g in gaps]
    return np.degrees([rotation_angle(g) for g in gaps]), np.array(off)


def test_readings_lie_where_the_rays_met_the_object(views):
    cube = Cube.around(LOW, HIGH)
    source = ReadingSource(views, Placed(views, cube), cube)
    read = source.draw(500, np.random.default_rng(0))
    x = read.points * cube.size + cube.low
    off = np.linalg.norm(x / (1, 1, 1.15), axis=1) - RADIUS
    assert np.abs(np.median(off)) < 0.3 * NOISE_M and np.abs(off).max() < 8 * NOISE_M
    near = read.before(np.full(500, 1.0, np.float32), 0.2)
    assert np.allclose(np.linalg.norm(near - read.points, axis=1), CLEAR * read.sigma, atol=1e-5)
    each = source.of_each(100, np.random.default_rng(0))
    assert (np.bincount(each.camera) == 100).all()


@pytest.mark.slow
def test_cameras_that_stand_wrong_are_set_right(views):
    wrong = shaken(views)
    before = errors(wrong, views)
    grid, distance, learner = learned(wrong, 800)
    after = errors(learner.placed(wrong), views)
    assert np.median(before[0]) > 0.25 and np.median(before[1]) > 0.7
    assert np.median(after[1]) < 0.4 * np.median(before[1]) and after[1].max() < 0.7, (after, learner.metrics)
    off = np.abs(grid.sample(distance, np.asarray(ball().vertices)))
    assert np.median(off) < 0.25 * FOOTPRINT


def test_cameras_stay_where_they_are_when_told_to(views):
    learner = learned(views[::4], 100, refine_poses=False)[2]
    assert (
        not learner.moved
        and "poses_moved_mm_max" not in learner.metrics
        and learner.metrics["learned_depth_error"] < 0.05
    )
    assert all(
        (a.object_from_left == b.object_from_left).all() for a, b in zip(learner.placed(views), views, strict=True)
    )


def test_same_bits_for_any_number_of_threads(views):
    one, two = learned(views[::4], 100, 1), learned(views[::4], 100, 2)
    assert (one[1] == two[1]).all()
    assert all((one[2].moved[k] == two[2].moved[k]).all() for k in one[2].moved) and len(one[2].moved) == 5
