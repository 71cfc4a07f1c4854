"""What the first surface used to lose or to fill: a thin rod between two bodies, and the inside of a cup."""

from __future__ import annotations

import numpy as np
import trimesh

from stages.core.camera import Rig
from stages.core.render import Caster
from stages.core.synthetic.render import look_at
from stages.surface.shape.grid import Grid
from stages.surface.shape.hollows import probability_empty
from stages.surface.shape.initial import initial_distance
from stages.surface.shape.rounds import Evidence, Plan, Round, recover_shape
from stages.surface.shape.thin import fineness, thinnest_part
from stages.surface.views.views import View, WholeFrame, make_view

RIG = Rig(320, 240, 500.0, 500.0, 159.5, 119.5, 0.06)
ROD = 0.002


def _views(solid: trimesh.Trimesh, count: int, elevation: float, with_depth: bool = True) -> list[View]:
    caster = Caster(np.asarray(solid.vertices), np.asarray(solid.faces))
    out, aim = (
        [],
        np.random.default_rng(0).uniform(-0.002, 0.002, (count, 3)),
    )  # off the axis: no outline falls on the same half of a pixel
    for k, azimuth in enumerate(np.linspace(0, 2 * np.pi, count, endpoint=False)):
        eye = 0.4 * np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        pose = look_at(eye, aim[k], np.array([0.0, 0.0, -1.0]))
        depth = caster.view(pose, RIG)["t"]
        mask, grey = np.isfinite(depth), np.full((RIG.height, RIG.width, 3), 128, np.uint8)
        disparity = RIG.disparity_from_depth(np.where(mask & with_depth, depth, np.nan))
        out.append(
            make_view(
                WholeFrame(k, pose, (grey, grey), mask, 1.0, disparity, np.where(mask, 0.3, np.nan)), RIG, 10**6, 2.0
            )
        )
    return out


def _dumbbell() -> trimesh.Trimesh:
    """Two balls on the z axis, 4 mm of rod between them: 1.7 voxels of the first grid as it is without thin parts."""
    balls = [trimesh.creation.icosphere(3, 0.02) for _ in range(2)]
    balls[0].apply_translation([0, 0, 0.06])
    balls[1].apply_translation([0, 0, -0.06])
    return trimesh.util.concatenate([*balls, trimesh.creation.cylinder(ROD, 0.12)])


def test_a_thin_rod_between_two_bodies_survives():
    views = _views(_dumbbell(), 12, 0.2)
    rounds = [Round(1.0, 0.9, 4, 1.5, 6.0), Round(1.0, 0.5, 4, 1.2, 2.4)]
    shape = recover_shape(views, np.empty((0, 3)), Plan(rounds, Evidence(), 1000.0, 1, 80), 2, lambda note: None)
    mesh = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
    assert mesh.body_count == 1
    for z in np.linspace(-0.035, 0.035, 8):
        across = mesh.section(plane_normal=[0, 0, 1], plane_origin=[0, 0, z])
        assert across is not None
        np.testing.assert_allclose(np.asarray(across.extents)[:2], 2 * ROD, atol=0.8 * ROD)


def test_the_thinnest_part_is_measured_and_sets_the_grid():
    views, low, high = _views(_dumbbell(), 6, 0.2), np.array([-0.03, -0.03, -0.09]), np.array([0.03, 0.03, 0.09])
    thin = thinnest_part(views, 0.008)
    assert 0.7 * 2 * ROD < thin < 1.3 * 2 * ROD
    fine = fineness(views, low, high, 80, 0.0008)
    assert fine.first == fine.thinnest / 3 and fine.most == 2 * fine.first and 0.84 * thin < fine.thinnest < thin / 0.84
    coarse = fineness(views, low, high, 250, 0.0008)
    assert coarse.most == np.inf and coarse.first == np.linalg.norm(high - low) / 250  # as fine as a pixel already
    box = _views(trimesh.creation.box([0.05, 0.03, 0.08]), 6, 0.2)
    assert thinnest_part(box, 0.02) == np.inf  # corners are not thin parts


def test_what_lies_between_emptiness_and_the_object_is_shared_out():
    """A slab between an empty and a solid face: far from its rim, which is solid too, a walk is as likely to end where it is nearer."""
    shape = (25, 25, 7)
    empty, solid = np.zeros(shape, bool), np.ones(shape, bool)
    solid[1:-1, 1:-1, 1:-1] = False
    empty[1:-1, 1:-1, 0], solid[1:-1, 1:-1, 0] = True, False
    found = probability_empty(empty, solid, np.zeros(shape))
    np.testing.assert_allclose(found[12, 12], np.linspace(1, 0, 7), atol=0.02)
    assert found[empty].min() == 1 and found[solid].max() == 0 and found[1, 12, 3] < 0.2
    pulled = probability_empty(empty, solid, np.full(shape, 3))
    assert (pulled[12, 12, 1:-1] > found[12, 12, 1:-1] + 0.02).all() and pulled[solid].max() == 0


def test_no_cone_is_left_standing_in_a_cup():
    """Cameras all round look 26 mm down to the walls and past the middle, where a cone of 13 mm would be left."""
    wall = trimesh.creation.annulus(0.024, 0.03, 0.08)
    floor = trimesh.creation.cylinder(0.03, 0.006, transform=trimesh.transformations.translation_matrix([0, 0, -0.037]))
    views = _views(trimesh.util.concatenate([wall, floor]), 12, 0.5)
    grid = Grid.covering(np.full(3, -0.052), np.full(3, 0.052), 0.002)
    distance = initial_distance(views, grid, 0.0008, 1, 2)
    column = distance[26, 26]
    top = grid.origin[2] + grid.voxel * np.flatnonzero(column < 0).max()
    assert -0.02 < top < 0.015

    def at(x, y, z):
        return distance[tuple(np.rint((np.array([x, y, z]) - grid.origin) / grid.voxel).astype(int))]

    ring = [(0.027 * np.cos(a), 0.027 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16)]
    assert all(at(x, y, z) < 0 for x, y in ring for z in (-0.03, 0.0, 0.03)) and at(0, 0, -0.037) < 0
