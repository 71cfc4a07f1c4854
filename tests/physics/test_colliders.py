"""Convex parts: as close as asked for, hollows open, and never without an end."""

from __future__ import annotations

import numpy as np
import pytest

from stages.physics.cells import is_thin
from stages.physics.colliders import NoParts, convex_parts, decomposed, lightened, one_hull
from stages.physics.shapes import Shape, convex_hull, open_edges
from stages.physics.surface_distance import Ruler, between, inside, samples
from tests.physics.made import EAR_AT, EAR_MAJOR, MUG_HALF, MUG_RADIUS, ball, bowl, box, mug


@pytest.fixture(scope="module")
def cup():
    shape = mug()
    return shape, convex_parts(shape, 0.0035, 32, 30.0, 2)


def in_any(points: np.ndarray, parts: list[Shape]) -> np.ndarray:
    return np.any([inside(points, p) for p in parts], axis=0)


def test_the_mug_stays_open_where_one_grasps_and_fills_it(cup):
    _, found = cup
    rng = np.random.default_rng(0)
    ear = np.array([MUG_RADIUS + 0.006, 0, 0]) + rng.uniform(-1, 1, (500, 3)) * [0.004, 0.009, 0.02]
    cavity = rng.uniform(-1, 1, (500, 3)) * [0.016, 0.6 * MUG_HALF, 0.016]
    assert in_any(ear, found.parts).mean() < 0.02, "a finger goes through the ear"
    assert in_any(cavity, found.parts).mean() < 0.02, "it can be filled"
    wall = np.array([[0, y, MUG_RADIUS - 0.0035] for y in np.linspace(-0.04, 0.04, 20)])
    ring = np.array([[EAR_AT + EAR_MAJOR, 0, 0]])
    assert in_any(wall, found.parts).all() and in_any(ring, found.parts).all(), "wall and ear are solid"
    assert len(found.parts) <= 32


@pytest.mark.slow
def test_a_bowl_keeps_its_hollow_and_its_round_wall():
    """A wall that is round both ways: pieces cut along the axes leave 3 mm with as many parts."""
    shape = bowl()
    found = convex_parts(shape, 0.0012, 32, 30.0, 2)
    assert len(found.parts) <= 32 and found.distance.mean_m < 0.0005 and found.distance.max_m < 0.002
    assert all(len(p.vertices) <= 64 for p in found.parts)
    soup = np.random.default_rng(0).uniform(-1, 1, (4000, 3)) * 0.05
    soup = soup[(np.linalg.norm(soup, axis=1) < 0.05) & (soup[:, 1] > 0)]
    assert len(soup) > 500 and in_any(soup, found.parts).mean() < 0.01, "it can be filled"
    wall = np.random.default_rng(1).normal(size=(400, 3))
    wall = 0.0575 * wall / np.linalg.norm(wall, axis=1, keepdims=True) * [1, 0.98, 1]
    assert in_any(wall[(wall[:, 1] > 0.004) & (wall[:, 1] < 0.05)], found.parts).mean() > 0.99, "the wall has no gaps"


def test_patches_are_for_walls_only():
    assert is_thin(bowl(0.003)) and is_thin(mug(0.003)) and not is_thin(ball())


def test_the_parts_are_convex_and_their_distance_is_measured(cup):
    shape, found = cup
    for part in found.parts:
        normal, offset = part.planes
        assert (part.vertices @ normal.T <= offset + 1e-7).all() and len(part.vertices) <= 64
    assert found.within and found.distance.mean_m < 0.0009 and found.distance.max_m <= 0.0035
    hull = one_hull(shape)
    assert hull.distance.max_m > 4 * found.distance.max_m, "the hull closes what the parts leave open"


def test_a_convex_shape_is_one_part_and_within():
    found = convex_parts(ball(), 0.002, 32, 30.0, 2)
    assert len(found.parts) == 1 and found.within and found.distance.max_m < 0.002


def test_distance_of_known_surfaces():
    inner, outer = box((0.1, 0.1, 0.1)), box((0.104, 0.104, 0.104))
    found = between(inner, [outer])
    assert found.max_m == pytest.approx(0.002 * 3**0.5, rel=0.1) and found.mean_m == pytest.approx(0.002, rel=0.1)
    halves = [box((0.05, 0.1, 0.1), (-0.025, 0, 0)), box((0.05, 0.1, 0.1), (0.025, 0, 0))]
    joined = between(inner, halves)
    assert joined.max_m < 0.002 and joined.mean_m < 1e-6, (
        "the cut between two parts is no surface; samples lie 1 mm apart"
    )


def test_slits_and_voids_between_parts_are_no_surface_but_a_hollow_is():
    whole = box((0.1, 0.1, 0.1))
    slit = [box((0.0499, 0.1, 0.1), (-0.02505, 0, 0)), box((0.0499, 0.1, 0.1), (0.02505, 0, 0))]
    assert between(whole, slit).max_m < 0.001, "0.2 mm wide and 50 mm deep: nothing gets in"
    gap = [box((0.04, 0.1, 0.1), (-0.03, 0, 0)), box((0.04, 0.1, 0.1), (0.03, 0, 0))]
    assert between(whole, gap).max_m > 0.009, "20 mm wide: a finger does"


@pytest.mark.slow
def test_why_it_stopped_is_true_of_what_was_found():
    """One hull of 64 vertices lies 1.6 mm from this ball, which has no pieces to make more parts of: not for want of parts."""
    many = convex_parts(ball(), 0.0012, 32, 30.0, 2)
    assert len(many.parts) < 32 and not many.within and many.why == "finer parts were not found"
    few = convex_parts(ball(), 0.0012, len(many.parts), 30.0, 2)
    assert few.why == f"{len(many.parts)} parts are the limit"


def test_time_that_is_up_is_said():
    assert decomposed(mug(), 0.01, 1.0, 1, 0)[0] is None, "the kernel ended it"
    with pytest.raises(NoParts, match=r"within 0\.9 CPU seconds"):
        convex_parts(mug(0.002), 0.001, 32, 0.9, 1)


def test_light_meshes_stay_closed():
    shape = mug()
    light = lightened(shape)
    assert len(light.faces) < 6001 and open_edges(light.faces) == 0
    assert Ruler(light).to_mesh(samples(shape, 3000)[0]).max() < 0.001, "and stay where they were"


def test_a_mesh_lies_on_itself_however_small_its_faces():
    shape = mug()
    assert Ruler(shape, 2000).to_mesh(samples(shape, 3000, seed=5)[0]).max() < 1e-4


def test_a_hull_of_few_vertices_holds_nearly_all():
    hull = convex_hull(ball().vertices, 64)
    assert len(hull.vertices) <= 64 and open_edges(hull.faces) == 0
    assert np.linalg.norm(hull.vertices, axis=1).max() == pytest.approx(0.05, rel=0.02)
    shape = mug(0.003)
    few, every = convex_hull(shape.vertices, 64), convex_hull(shape.vertices)
    normal, offset = few.planes
    assert (every.vertices @ normal.T - offset).max() < 0.002, (
        "no vertex of the hull lies 2 mm outside the one of 64 vertices"
    )
    with pytest.raises(ValueError, match="plane"):
        convex_hull(np.random.default_rng(0).random((20, 3)) * [1, 1, 0])
