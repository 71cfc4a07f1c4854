"""What the object stands on: its plane from all frames' points, its own picture with the shadows on it, and what that does to a mask."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform
from stages.masks.cut.colour_model import histogram, local_llr
from stages.masks.cut.frame_cut import cut_frame
from stages.masks.cut.outline import CutSettings
from stages.masks.cut.seed import Seed
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.background import calmed
from stages.masks.scenes.ground_picture import (
    AGREEING_FRAMES,
    AGREEING_SHARE,
    ALL_ROUND,
    GroundSamples,
    _agreed,
    agreed_picture,
    ground_grids,
    ground_samples,
    picture_outside,
)
from stages.masks.scenes.hull import Hull
from stages.masks.scenes.motion import SceneMotion
from stages.masks.scenes.moving import MovingScene, _in_front
from stages.masks.scenes.support import Support, support_plane
from tests.masks.flat_scene import jaccard
from tests.masks.test_hull import RADIUS, RIG, ball, camera

GROUND = Support(np.array([0.0, 1.0, 0.0]), RADIUS, 1e-4, 1000)
BALL = np.array([152, 149, 141])
"""nearly the ground's grey"""
ALL = (slice(0, RIG.height), slice(0, RIG.width))


def ground_colour(x: np.ndarray) -> np.ndarray:
    """(..., 3) metres on the ground -> (...) grey: nearly bare, with a hard shadow beside the ball."""
    grey = 150 + 2 * np.sin(60 * x[..., 0]) * np.sin(45 * x[..., 2])
    return np.where(np.hypot(x[..., 0] - 0.06, x[..., 2] - 0.02) < 0.05, 0.6, 1.0) * grey


def on_the_ground(pose: np.ndarray, rig: Rig = RIG) -> np.ndarray:
    """(H, W, 3) metres where each pixel's ray meets the plane, NaN above the horizon."""
    v, u = np.mgrid[: rig.height, : rig.width]
    ray = rig.rays(np.stack([u, v], -1)) @ pose[:3, :3].T
    down = np.where(ray[..., 1] > 1e-6, ray[..., 1], np.nan)
    return pose[:3, 3] + ray * ((RADIUS - pose[1, 3]) / down)[..., None]


def frame(number: int, turn_deg: float) -> tuple[WorkingFrame, np.ndarray, np.ndarray]:
    """A ball on the ground: (frame with noise and drifting exposure, true mask, scene_from_left); no disparity on the bare ground."""
    pose, rng = camera(turn_deg), np.random.default_rng(number)
    mask = ball(pose)
    colour = np.repeat(np.nan_to_num(ground_colour(on_the_ground(pose)), nan=90.0)[..., None], 3, -1)
    colour[mask] = BALL
    colour = colour * (1 + 0.05 * np.sin(number)) + rng.normal(0, 1.5, colour.shape)
    depth = RIG.fx * RIG.baseline_m / 0.38
    disparity = np.where(
        mask & (rng.uniform(size=mask.shape) < 0.6), depth + rng.normal(0, 0.2, mask.shape), np.nan
    ).astype(np.float32)
    sigma = np.where(np.isfinite(disparity), 0.3, np.nan).astype(np.float32)
    return WorkingFrame(number, np.clip(np.rint(colour), 0, 255).astype(np.uint8), disparity, sigma), mask, pose


def samples_of(turns: list[float]) -> tuple[GroundSamples, list[np.ndarray]]:
    frames = [frame(i, t) for i, t in enumerate(turns)]
    cameras = np.array([p[:3, 3] for *_, p in frames])
    found = ground_samples(ground_grids(GROUND, np.zeros(3), cameras, RIG), ((v, p) for v, _, p in frames), RIG)
    assert found is not None
    return found, [m for _, m, _ in frames]


ROUND = [30.0 * i for i in range(12)]


def test_the_plane_is_found_among_copies_that_move_with_the_camera():
    rng = np.random.default_rng(0)
    cameras = np.array([camera(t)[:3, 3] for t in ROUND])
    true = np.stack([rng.uniform(-0.2, 0.2, 150), np.full(150, RADIUS), rng.uniform(-0.2, 0.2, 150)], 1) + rng.normal(
        0, 4e-4, (150, 3)
    )
    flat = np.stack([rng.uniform(-0.1, 0.1, 100), rng.uniform(-0.1, 0.1, 100), np.full(100, 0.4)], 1)
    copies = np.concatenate([transform(camera(t), flat[::3]) for t in ROUND])
    ball_points = rng.normal(0, 1, (600, 3))
    ball_points *= RADIUS / np.linalg.norm(ball_points, axis=1, keepdims=True)
    found = support_plane(np.concatenate([true, copies, ball_points]), cameras, ball_points, rng)
    assert found is not None
    assert found.normal @ GROUND.normal > np.cos(np.radians(1.0)) and abs(found.offset - RADIUS) < 1.5e-3


def test_no_plane_from_a_few_points_or_from_the_object_alone():
    rng = np.random.default_rng(0)
    cameras = np.array([camera(t)[:3, 3] for t in ROUND])
    points = rng.normal(0, 1, (400, 3))
    points *= RADIUS / np.linalg.norm(points, axis=1, keepdims=True)
    assert support_plane(points, cameras, points, rng) is None
    assert support_plane(points[:20], cameras, points, rng) is None


def test_the_grid_lies_on_the_plane_and_projects_as_points_do():
    cameras = np.array([camera(t)[:3, 3] for t in ROUND])
    pose = camera(70)
    for grid in ground_grids(GROUND, np.zeros(3), cameras, RIG):
        ij = np.array([[0.0, 0.0], [grid.size / 2, grid.size / 3], [grid.size - 1.0, 5.0]])
        x = grid.origin + ij[:, :1] * grid.across + ij[:, 1:] * grid.along
        assert np.allclose(x @ GROUND.normal, GROUND.offset)
        uvw = np.concatenate([ij, np.ones((3, 1))], 1) @ grid.left_from_grid(pose, RIG).T
        in_left = transform(inverse(pose), x)
        assert np.allclose(uvw[:, 2], in_left[:, 2])
        front = in_left[:, 2] > 0
        assert np.allclose(uvw[front, :2] / uvw[front, 2:], RIG.project(in_left[front]))


def test_shadows_are_part_of_the_ground_and_the_ball_is_not():
    samples, masks = samples_of(ROUND)
    truth = {t: ground_colour(on_the_ground(camera(t))) for t in (0.0, 90.0, 200.0)}
    agreed = agreed_picture(samples, [None] * len(samples.frames), RIG, 1)
    for picture, least in ((agreed, 0.5), (picture_outside(samples, masks, RIG, 1), 0.5)):
        for turn, true in truth.items():
            rgb, sigma = picture.seen_from(camera(turn), RIG, ALL)
            near = ball(camera(turn), 2 * RADIUS) & np.isfinite(true)
            error = np.abs(rgb.mean(-1) - true)[near]
            known = np.isfinite(error)
            assert known.mean() > least
            assert np.median(error[known]) < 1.0 and np.percentile(error[known], 95) < 4.0
            assert np.isfinite(sigma[near][known]).all()


def test_seen_from_one_side_only_nothing_is_agreed_on():
    """All frames of a quarter turn see the ball's grey at the places behind it."""
    agreed = agreed_picture(samples_of([8.0 * i for i in range(12)])[0], [None] * 12, RIG, 1)
    assert np.isfinite(agreed.layers[0][1]).mean() < 0.01


def test_agreement_equals_its_readable_twin():
    rng = np.random.default_rng(1)
    n, h, w = 10, 6, 7
    stack = np.where(rng.uniform(size=(n, h, w, 1)) < 0.5, 120, rng.integers(0, 255, (n, h, w, 1))) + rng.integers(
        -2, 3, (n, h, w, 3)
    )
    stack = np.clip(stack, 0, 255).astype(np.uint8)
    seen = rng.uniform(size=(n, h, w)) < 0.8
    gain = np.ones((n, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    towards = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    four = np.full((h, w, 4), np.nan, np.float32)
    _agreed(stack, seen, gain, towards, np.float32(1.5), four)
    for y in range(h):
        for x in range(w):
            assert np.allclose(
                four[y, x], agreed_twin(stack[:, y, x], seen[:, y, x], towards), atol=1e-2, equal_nan=True
            )


def agreed_twin(colours: np.ndarray, seen: np.ndarray, towards: np.ndarray, noise: float = 1.5) -> np.ndarray:
    """One place: the largest set of samples within a window of brightness."""
    order = np.flatnonzero(seen)
    light = colours.astype(float).sum(-1)
    order = order[np.argsort(light[order], kind="stable")]
    best: np.ndarray = order[:0]
    for last in range(len(order)):
        top = light[order[last]]
        window = [i for i in order[: last + 1] if top - light[i] <= 12 * noise + 0.05 * top]
        best = np.array(window) if len(window) > len(best) else best
    if (
        len(best) < max(AGREEING_FRAMES, AGREEING_SHARE * seen.sum())
        or np.linalg.norm(towards[best].mean(0)) > ALL_ROUND
    ):
        return np.full(4, np.nan)
    chosen = colours[best].astype(float)
    return np.append(chosen.mean(0), max(np.sqrt(chosen.var(0).mean()), noise) * (1 + 1 / np.sqrt(len(best))))


def test_calming_keeps_what_differs_and_removes_noise():
    rng = np.random.default_rng(0)
    rgb = np.full((60, 80, 3), 150, np.float32)
    rgb[:10] = np.nan
    seen = np.nan_to_num(rgb, nan=60.0) + rng.normal(0, 1.5, rgb.shape).astype(np.float32)
    seen[20:50, 40:] += (-2, -3, -7)
    ring = np.zeros((60, 80), bool)
    ring[12:, :35] = True
    out, sigma = calmed(seen, rgb, np.full((60, 80), 2.0, np.float32), ring)
    assert np.array_equal(out[:10], seen[:10])
    assert (out[12:, :35] - 150).std() < 0.9 and sigma[30, 10] < 1.2
    assert np.allclose((out[25:45, 45:] - 150).mean((0, 1)), (-2, -3, -7), atol=0.4)


@pytest.mark.parametrize("turn", [90.0, 150.0])
def test_a_ball_of_the_grounds_grey_is_told_from_it_and_its_shadow_left_out(turn):
    samples, masks = samples_of(ROUND)
    view, mask, pose = frame(ROUND.index(turn), turn)
    first, first_mask, first_pose = frame(0, 0.0)
    hull = Hull.box(np.full(3, -0.07), np.full(3, 0.07), 60_000)
    hull.keep(_in_front(hull.centres, [(GROUND.normal, GROUND.offset)]))
    near = float(RIG.fx * RIG.baseline_m / 0.38)
    colours = histogram(first.rgb[first_mask].astype(np.float32)), histogram(first.rgb[~first_mask].astype(np.float32))
    seed = Seed(0, first_mask, *colours, (near - 4, near + 4), [], "")
    for turn_deg, other in zip(ROUND, masks, strict=True):
        if turn_deg not in (turn, turn + 180):
            hull.vote(other, camera(turn_deg), RIG)
    motion = SceneMotion(RIG, {0: first_pose, view.frame: pose})
    scene = MovingScene(seed, RIG, motion, hull, [(GROUND.normal, GROUND.offset)], [0.3], support=GROUND)
    without = cut_frame(
        view, scene.expect(view, None, second_pass=True), seed.colours, CutSettings(network=False), fine=True
    )
    scene.ground = picture_outside(samples, masks, RIG, 1)
    found = cut_frame(
        view, scene.expect(view, None, second_pass=True), seed.colours, CutSettings(network=False), fine=True
    )
    assert jaccard(found.mask, mask) > 93 and jaccard(found.mask, mask) > jaccard(without.mask, mask)


def test_what_is_darker_than_a_known_wall_before_which_the_object_is_lighter_is_no_mixture_of_the_two():
    colour = np.full((40, 60, 3), 128, np.float32)
    for columns, grey in ((slice(0, 25), 200), (slice(25, 35), 118), (slice(35, 60), 153)):
        colour[:, columns, 0] = grey
    colour[::2, :25, 0] -= 60
    wall = np.full_like(colour, 128)
    wall[..., 0] = 153
    certain = np.zeros((2, 40, 60), bool)
    certain[0, :, :22], certain[1, :, 40:] = True, True
    band = np.zeros((40, 60), bool)
    band[20, 26:38] = True
    llr = local_llr(colour, *certain, band, 14, 1.5, wall, np.full((40, 60), 2.0, np.float32))
    assert (llr[:9] > 0.5).all()
    mixed = colour.copy()
    mixed[20, 26:35, 0] = 155
    assert (local_llr(mixed, *certain, band, 14, 1.5, wall, np.full((40, 60), 2.0, np.float32))[:9] < 0).all()
