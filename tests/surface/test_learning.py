"""A field that learns from pictures: its gradients against autograd, its samples, the hollow that no outline shows, and same bits."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from stages.core.camera import Rig
from stages.core.camera_service import orbit
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.field.thread_team import ThreadTeam
from stages.core.render import Caster
from stages.core.work import Work
from stages.surface.backend import Choice
from stages.surface.config import SurfaceConfig
from stages.surface.device import build as device_build
from stages.surface.learned_shape import FromPictures, without_small_parts
from stages.surface.learning.rays import Rays
from stages.surface.learning.space import Space
from stages.surface.learning.steps import NumbaLearningSteps, Weights
from stages.surface.schedule import learns_from_pictures
from stages.surface.shape.grid import Grid
from stages.surface.shape.initial import initial_distance
from stages.surface.views.views import View, WholeFrame, make_view

SMALL = FieldShape(levels=6, log2_entries=11, finest_resolution=48)
RADIUS, DENT, AT = 0.05, 0.03, 0.055
"""a ball of this radius, from which a ball of radius DENT round (AT, 0, 0) is taken away: 25 mm deep, and no outline shows it"""
FOOTPRINT = 0.4 / 300


def trained() -> Field:
    """Every parameter some way from where it starts."""
    field, rng = Field.create(SMALL, 3), np.random.default_rng(0)
    field.grid += rng.normal(0, 0.05, field.grid.shape).astype(np.float32)
    field.sdf_weights += rng.normal(0, 0.05, field.sdf_weights.shape).astype(np.float32)
    return field


def rays(count: int) -> Rays:
    """Towards the cube's middle, half of them past the starting sphere."""
    rng = np.random.default_rng(1)
    away = rng.normal(size=(count, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    eye = 0.5 + 1.5 * away
    ray = 0.5 + rng.uniform(-0.35, 0.35, (count, 3)) - eye
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    inside = np.linalg.norm(np.cross(ray, eye - 0.5), axis=1) < 0.3
    return Rays(*(a.astype(np.float32) for a in (eye, ray, rng.random((count, 3)))), inside, np.zeros(count, np.int32))


def test_gradients_are_those_of_autograd():
    drawn, rng = rays(200), np.random.default_rng(2)
    along = np.sort(rng.uniform(0.9, 2.1, (200, 20)), 1).astype(np.float32)
    near, free = rng.random((100, 3), np.float32), rng.random((80, 3), np.float32)
    bound, target = rng.uniform(-0.2, 0.4, 80).astype(np.float32), rng.normal(0, 0.1, 100).astype(np.float32)
    field = trained()
    by_hand = NumbaLearningSteps(field, Weights())
    by_torch = device_build.device_learning_steps("torch", trained(), Weights(), SurfaceConfig(), 1)
    for steps in (by_hand, by_torch):
        steps.levels(4.5)
        steps.observe(drawn, along, 30.0)
        steps.regular(near, 0.02, free, bound)
        steps.measured(near, np.abs(target), 0.02, free)
        steps.distance(near, target)
    expected = by_torch.gradients()
    for name, found in field.gradients().items():
        assert np.abs(expected[name]).max() > 0
        assert np.abs(found.ravel() - expected[name].ravel()).max() < 2e-3 * np.abs(expected[name]).max(), name
    assert np.abs(by_hand.colours(near, drawn.ray[:100]) - by_torch.colours(near, drawn.ray[:100])).max() < 1e-4
    ours, theirs = by_hand.finish(1e-2, 1e-3), by_torch.finish(1e-2, 1e-3)
    assert ours.keys() == theirs.keys() and all(abs(ours[k] - float(theirs[k])) < 1e-4 for k in ours)
    assert np.abs(by_hand.sdf(near) - by_torch.sdf(near)).max() < 2e-3


def test_samples_lie_where_the_surface_is():
    axes = np.linspace(0, 1, 64)
    ball = np.linalg.norm(np.stack(np.meshgrid(axes, axes, axes, indexing="ij"), -1) - 0.5, axis=-1) - 0.3
    space, drawn = Space(ball, 0.05), rays(300)
    jitter = np.random.default_rng(0).random((300, 24), np.float32)
    along, found = space.place(drawn, jitter, 100.0, ThreadTeam(2))
    missed = np.linalg.norm(np.cross(drawn.ray, drawn.eye - 0.5), axis=1)
    assert found[missed < 0.34].all() and not found[missed > 0.37].any()
    assert (np.diff(along[found], axis=1) >= 0).all()
    x = drawn.eye[:, None] + along[..., None] * drawn.ray[:, None]
    off = np.abs(np.linalg.norm(x - 0.5, axis=-1) - 0.3)
    assert off[found].max() < 0.3 and (off[missed < 0.28] < 0.05).mean() > 0.7
    again, _ = space.place(drawn, jitter, 100.0, ThreadTeam(1))
    assert (again == along).all()


def dented() -> trimesh.Trimesh:
    """The ball, with the vertices inside the other ball drawn onto it."""
    mesh = trimesh.creation.icosphere(5, RADIUS)
    x = np.asarray(mesh.vertices)
    middle = np.array([AT, 0, 0])
    direction = x / RADIUS
    along = direction @ middle
    root = along**2 - (AT**2 - DENT**2)
    hit = (root > 0) & (np.linalg.norm(x - middle, axis=1) < DENT)
    length = np.where(hit, along - np.sqrt(np.maximum(root, 0)), RADIUS)
    return trimesh.Trimesh(direction * length[:, None], mesh.faces, process=False)


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Three rings of pictures of the dented ball with a pattern on it."""
    mesh, rig = dented(), Rig(150, 150, 300.0, 300.0, 74.5, 74.5, 0.1)
    v = np.asarray(mesh.vertices)
    wave = [np.sin(v @ np.random.default_rng(k).normal(0, 350, 3) + k) for k in range(3)]
    colours = 127 + 60 * np.stack(wave, 1) + 50 * np.sin(400 * v[:, 1:2])
    caster = Caster(v, np.asarray(mesh.faces))
    poses = [p for e in (-0.6, 0.0, 0.6) for p in orbit(np.zeros(3), 0.4, 10, np.array([0, 0, 1.0]), e)]
    made = []
    for k, pose in enumerate(poses):
        hit = caster.view(pose, rig)
        mask = np.isfinite(hit["t"])
        picture = np.where(mask[..., None], caster.interpolate(hit, colours), 255).clip(0, 255).astype(np.uint8)
        nothing = np.full(mask.shape, np.nan, np.float32)
        made.append(make_view(WholeFrame(k, pose, (picture, None), mask, 1.0, nothing, nothing), rig, 100_000, 2.0))
    return made


def learned(
    views: list[View], threads: int, steps: int, glance=lambda step, mesh: None
) -> tuple[Grid, np.ndarray, np.ndarray, dict]:
    """(grid, learned distance, the hull's on the same grid, metrics)."""
    hull = Grid.covering(np.full(3, -0.06), np.full(3, 0.06), 0.003)
    distance = initial_distance(views, hull, FOOTPRINT, 1, 1)
    config = SurfaceConfig(picture_steps=steps, picture_rays=256, field_log2_entries=14)
    metrics: dict = {}
    learner = FromPictures(views, FOOTPRINT, config, Choice("numba", ""), Work(threads), metrics, glance)
    grid, found = learner.shape(hull, distance, 0.0015)
    return grid, found, hull.resampled(distance, grid), metrics


@pytest.mark.slow
def test_a_hollow_that_no_outline_shows_is_found(views):
    grid, found, hull, metrics = learned(views, 1, 700)
    floor = np.stack([np.linspace(0.0, 0.05, 200), *np.zeros((2, 200))], 1)
    depth = [floor[np.flatnonzero(grid.sample(d, floor) > 0)[0], 0] for d in (found, hull)]
    truth = AT - DENT
    assert depth[1] > 0.042 and abs(depth[0] - truth) < 0.4 * (depth[1] - truth), depth
    x = np.asarray(dented().vertices)
    off = np.abs(grid.sample(found, x))
    assert (
        np.median(off) < 0.3 * FOOTPRINT
        and metrics["learned_colour_error"] < 0.1
        and metrics["learned_opacity_error"] < 0.2
    )


def test_same_bits_for_any_number_of_threads(views):
    one, two = learned(views[::3], 1, 100)[1], learned(views[::3], 2, 100)[1]
    assert (one == two).all()


def test_a_glance_shows_what_is_learned_so_far_and_changes_nothing(views):
    seen = {}
    looked = learned(views[::3], 2, 100, lambda step, mesh: seen.update({step: mesh()}))[1]
    assert (looked == learned(views[::3], 2, 100)[1]).all()
    assert list(seen) == [1, 51, 100]
    for vertices, faces in seen.values():
        assert len(faces) > 500 and np.abs(np.median(np.linalg.norm(vertices, axis=1)) - RADIUS) < 0.1 * RADIUS


def test_what_hangs_in_the_air_is_dropped():
    distance = np.ones((20, 20, 20), np.float32)
    distance[2:12, 2:12, 2:12] = distance[15:17, 15:17, 15:17] = -1
    kept = without_small_parts(distance, 0.02, 1.0)
    assert (kept[2:12, 2:12, 2:12] == -1).all() and (kept[15:17, 15:17, 15:17] == 1).all()


def test_what_the_field_learns_from():
    assert learns_from_pictures(SurfaceConfig(), by_depth=False) and not learns_from_pictures(
        SurfaceConfig(), by_depth=True
    )
    assert learns_from_pictures(SurfaceConfig(field="pictures"), True) and not learns_from_pictures(
        SurfaceConfig(field="shape"), False
    )
    with pytest.raises(ValueError, match="picture_steps"):
        SurfaceConfig(picture_steps=3)
