"""A thing before the object: found from depth, and what lies behind it is neither carved nor painted."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from stages.core.camera import Rig
from stages.core.render import Caster
from stages.core.synthetic.render import look_at
from stages.surface.shape.crumbs import without_crumbs
from stages.surface.shape.fusion import Voting, fuse
from stages.surface.shape.grid import Grid
from stages.surface.shape.readings import rim_readings
from stages.surface.views.cameras import visible
from stages.surface.views.hidden import expected_depth, glance, hidden_pixels, right_hidden, seen_object
from stages.surface.views.pixels import pick
from stages.surface.views.views import View, WholeFrame, make_view

RIG = Rig(320, 240, 500.0, 500.0, 159.5, 119.5, 0.06)
BOX = (0.08, 0.05, 0.06)
BAR = ((-0.009, -0.1, -0.14), (0.009, 0.1, -0.12))
"""low and high corner in the first camera's frame, whose origin is moved to the object's centre: a bar that stands before the object"""


class Scene:
    """A box that turns before a still camera, a still bar before it in most of the frames, and a wall behind."""

    def __init__(self, count: int = 12, barred: int = 8) -> None:
        box = trimesh.creation.box(BOX)
        self.caster = Caster(np.asarray(box.vertices), np.asarray(box.faces))
        self.poses, self.masks, self.hidden, self.disparity = [], [], [], []
        still = look_at(np.array([0.0, 0.0, -0.4]), np.zeros(3), np.array([0.0, -1.0, 0.0]))
        for k in range(count):
            self._add(_turned(2 * np.pi * k / count) @ still, still, k < barred)

    def _add(self, pose: np.ndarray, still: np.ndarray, barred: bool) -> None:
        depth = self.caster.view(pose, RIG)["t"]
        bar = _bar_depth(still) if barred else np.full(depth.shape, np.inf)
        nearest = np.minimum(np.minimum(depth, bar), 0.7)
        self.poses.append(pose)
        self.masks.append(np.isfinite(depth) & (depth <= bar))
        self.hidden.append(np.isfinite(depth) & (bar < depth))
        self.disparity.append(RIG.disparity_from_depth(nearest).astype(np.float32))

    @property
    def sigma(self) -> np.ndarray:
        return np.full((RIG.height, RIG.width), 0.2, np.float32)

    def found(self, k: int) -> np.ndarray:
        seen = seen_object(
            [glance(p, RIG, m, d, self.sigma) for p, m, d in zip(self.poses, self.masks, self.disparity, strict=True)]
        )
        expected = expected_depth(seen, self.poses[k], RIG)
        return hidden_pixels(expected, 0.5 * seen.size, RIG, self.masks[k], self.disparity[k], self.sigma)

    def views(self, hidden: list[np.ndarray] | None) -> list[View]:
        grey = np.full((RIG.height, RIG.width, 3), 128, np.uint8)
        parts = hidden or [None] * len(self.poses)
        made = [
            make_view(
                WholeFrame(k, self.poses[k], (grey, grey), self.masks[k], 1.0, self.disparity[k], self.sigma, parts[k]),
                RIG,
                10**6,
                2.0,
            )
            for k in range(len(self.poses))
        ]
        return [v for v in made if v is not None]


def _turned(angle: float) -> np.ndarray:
    out = np.eye(4)
    out[0, 0] = out[2, 2] = np.cos(angle)
    out[0, 2], out[2, 0] = np.sin(angle), -np.sin(angle)
    return out


def _bar_depth(still: np.ndarray) -> np.ndarray:
    bar = trimesh.creation.box(bounds=BAR)
    return Caster(np.asarray(bar.vertices), np.asarray(bar.faces)).view(still, RIG)["t"]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def test_what_stands_before_the_object_is_found_from_depth(scene):
    for k in (0, 2, 4):
        found, true = scene.found(k), scene.hidden[k]
        assert true.sum() > 1000
        assert (found & true).sum() > 0.9 * true.sum()
        bar = scene.disparity[k] > RIG.disparity_from_depth(np.array(0.3))
        assert (found & ~bar).sum() < 0.05 * found.sum()  # the wall behind is seen, and hides nothing
    assert not scene.found(10).any()


def test_what_is_hidden_is_not_carved(scene):
    grid = Grid.covering(np.full(3, -0.06), np.full(3, 0.06), 0.003)
    x = grid.points(np.arange(np.prod(grid.shape))).reshape(*grid.shape, 3)
    inside = (np.abs(x) < np.array(BOX) / 2 - 0.004).all(-1)
    outside = (np.abs(x) > np.array(BOX) / 2 + 0.006).any(-1)
    carved = fuse(scene.views(None), grid, Voting(0.02, 8e-4, 1e-3), 2, 2).hull
    assert (carved[inside] > 0).mean() > 0.2
    for hidden in (scene.hidden, [scene.found(k) for k in range(len(scene.poses))]):
        whole = fuse(scene.views(hidden), grid, Voting(0.02, 8e-4, 1e-3), 2, 2).hull
        assert (whole[inside] > 0).mean() < 0.01
        assert (whole[outside] < 0).mean() < 0.02


def test_hidden_pixels_show_nothing_of_the_surface(scene):
    views = scene.views(scene.hidden)
    front = np.array([[0.0, 0.0, -BOX[2] / 2 - 1e-4]])
    cosine = visible(scene.caster, views, front, np.array([[0.0, 0.0, -1.0]]), 0.3, 0.002)
    assert (
        cosine[0, 0] == 0
        and visible(scene.caster, scene.views(None), front, np.array([[0.0, 0.0, -1.0]]), 0.3, 0.002)[0, 0] > 0.9
    )
    pixels = pick(views, scene.caster.vertices, scene.caster.faces, 3000, 2.0, 0, 2)
    x_still = (pixels.eye + pixels.ray * pixels.depth[:, None])[pixels.camera == 0]
    u = RIG.project((x_still - scene.poses[0][:3, 3]) @ scene.poses[0][:3, :3])[:, 0]
    bar_u = np.flatnonzero(scene.hidden[0].any(0))
    assert len(u) > 500 and not ((u > bar_u[0]) & (u < bar_u[-1])).any()


def test_the_right_eye_is_covered_where_its_own_picture_shows_the_thing(scene):
    right = right_hidden(scene.found(0), scene.disparity[0])
    shift = np.eye(4)
    shift[0, 3] = RIG.baseline_m
    bar = np.isfinite(_bar_depth(scene.poses[0] @ shift))
    rows = scene.hidden[0].any(1)
    assert (right & bar).sum() > 0.95 * bar[rows].sum() and (right & ~bar).sum() < 0.35 * right.sum()
    assert right_hidden(scene.hidden[0], np.full_like(scene.disparity[0], np.nan)).all()


def test_the_edge_of_what_stands_before_is_no_outline(scene):
    grid = Grid.covering(np.full(3, -0.06), np.full(3, 0.06), 0.003)
    x = grid.points(np.arange(np.prod(grid.shape))).reshape(*grid.shape, 3)
    distance = (np.abs(x) - np.array(BOX) / 2).max(-1).astype(np.float32)

    def u_of(rims):
        return RIG.project((rims.points - scene.poses[0][:3, 3]) @ scene.poses[0][:3, :3])[:, 0]

    bar = np.flatnonzero(scene.hidden[0].any(0))

    def beside(u):
        return ((u > bar[0] - 2) & (u < bar[-1] + 2)).mean()

    with_edge, without = (rim_readings(scene.views(h)[:1], grid, distance, 1.0, 0.05) for h in (None, scene.hidden))
    assert beside(u_of(with_edge)) > 0.2 and beside(u_of(without)) < 0.02 and len(without) > 50


def test_crumbs_that_nobody_read_go_and_thin_parts_that_were_read_stay():
    grid = Grid.covering(np.full(3, -0.05), np.full(3, 0.05), 0.002)
    x = grid.points(np.arange(np.prod(grid.shape))).reshape(*grid.shape, 3)

    def ball(at, r):
        return np.linalg.norm(x - np.array(at), axis=-1) - r

    body, crumb = ball([0, 0, 0], 0.02), ball([0.035, 0, 0], 0.005)
    read_crumb, thread = ball([0, 0.035, 0], 0.005), ball([0, 0, 0.024], 0.006)
    distance = np.minimum.reduce([body, crumb, read_crumb, thread]).astype(np.float32)
    rng = np.random.default_rng(0)
    d = rng.normal(size=(3000, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    read = np.concatenate([0.02 * d[d[:, 2] < 0.7], np.array([0, 0.035, 0]) + 0.005 * d])
    out = without_crumbs(distance, grid, read, 0.001)

    def at(p):
        return out[tuple(np.rint((np.array(p) - grid.origin) / grid.voxel).astype(int))]

    assert at([0, 0, 0]) < 0 and at([0, 0.035, 0]) < 0 and at([0.035, 0, 0]) > 0
    np.testing.assert_allclose(at([-0.024, 0, 0]), 0.004, atol=1e-3)  # what was read stays where it was
