"""A pose that is wrong is noticed, by depth where the shape tells and by the look where it does not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from stages.core.dense.look import Verdict, detail, judge
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import exp_se3, inverse
from stages.track.links.verification import contradicted, with_grip
from tests.track.ball_scene import RADIUS_M, RIG

DISTANCE_M = 0.35
RNG = np.random.default_rng(3)
PRINT = cv2.resize(RNG.uniform(40, 215, (24, 48)).astype(np.float32), (384, 192), interpolation=cv2.INTER_CUBIC)


def object_from_left(degrees: float) -> np.ndarray:
    back = np.eye(4)
    back[2, 3] = -DISTANCE_M
    return exp_se3([0, np.radians(degrees), 0, 0, 0, 0]) @ back


def view(degrees: float, printed: bool = True) -> DenseView:
    """A printed ball seen from one side of the ring, nothing behind it. Its depth is the same from everywhere."""
    pose = object_from_left(degrees)
    v, u = np.mgrid[: RIG.height, : RIG.width]
    ray = np.stack([(u - RIG.cx) / RIG.fx, (v - RIG.cy) / RIG.fy, np.ones(u.shape)], -1)
    square, along = (ray**2).sum(-1), ray[..., 2] * DISTANCE_M
    root = along**2 - square * (DISTANCE_M**2 - RADIUS_M**2)
    ball = root > 0
    depth = np.where(ball, (along - np.sqrt(np.maximum(root, 0))) / square, np.nan)
    x = np.nan_to_num(ray * depth[..., None] @ pose[:3, :3].T + pose[:3, 3])
    longitude, latitude = np.arctan2(x[..., 0], x[..., 2]), np.arcsin(np.clip(x[..., 1] / RADIUS_M, -1, 1))
    at = (
        ((longitude / (2 * np.pi) + 0.5) * 383).astype(np.float32),
        ((latitude / np.pi + 0.5) * 191).astype(np.float32),
    )
    gray = cv2.remap(PRINT, *at, cv2.INTER_LINEAR) if printed else np.full(u.shape, 128.0)
    # the lamp stands still beside the camera, so that light and shade do not turn with the ball
    light = np.clip(0.75 + 0.5 * (u - RIG.cx) / RIG.fx, 0.3, 1)
    gray = np.where(ball, gray * light, 20) + np.random.default_rng(int(degrees)).normal(0, 1.5, u.shape)
    disparity = (RIG.fx * RIG.baseline_m / depth).astype(np.float16)
    sigma = np.where(ball, 0.2, np.nan).astype(np.float16)
    return DenseView(np.clip(gray, 0, 255).astype(np.uint8), disparity, sigma, ball, RIG, 1.0)


RING = {k: 15.0 * k for k in range(8)}


@pytest.fixture(scope="module")
def views() -> dict[int, DenseView]:
    return {k: view(d) for k, d in RING.items()}


def poses(**moved: float) -> dict[int, np.ndarray]:
    """True poses; `f3=20` says that frame 3 was turned by 20 degrees more."""
    return {k: object_from_left(d + moved.get(f"f{k}", 0.0)) for k, d in RING.items()}


def test_true_poses_are_borne_out(views):
    assert contradicted(views, poses(), np.zeros(3), True) == {}


@pytest.mark.parametrize("turn", [15.0, -20.0, 30.0])
def test_a_wrong_turn_is_noticed_though_the_shape_does_not_tell(views, turn):
    found = contradicted(views, poses(f4=turn), np.zeros(3), True)
    assert list(found) == [4] and "contradict" in found[4]


def test_the_whole_turned_together_is_no_error(views):
    turned = {k: exp_se3([0.3, 0.2, 0.1, 0.5, 0, 0]) @ p for k, p in poses().items()}
    assert contradicted(views, turned, np.array([0.5, 0, 0]), True) == {}


@pytest.mark.parametrize("turn", [15.0, -20.0])
def test_a_part_that_agrees_with_itself_is_lost_where_the_larger_part_contradicts_it(views, turn):
    """Three frames turned together: each has neighbours that bear it out, but only among the three."""
    last = sorted(poses())[-3:]
    assert sorted(contradicted(views, poses(**{f"f{k}": turn for k in last}), np.zeros(3), True)) == last


def test_a_mask_that_lost_a_part_does_not_make_a_true_pose_false():
    assert Verdict(0.9, 0.85, 0.17, 4000).firm and not Verdict(0.6, 0.85, 0.17, 4000).firm
    assert not Verdict(0.5, 0.9, 0.02, 4000).firm and Verdict(float("nan"), 0.9, 0.0, 4000).silent


def test_a_bare_ball_gives_no_verdict():
    bare = {k: view(d, printed=False) for k, d in RING.items()}
    assert contradicted(bare, poses(f4=40.0), np.zeros(3), True) == {}
    assert np.isnan(judge(bare[0], bare[1], np.eye(4), True).correlation)


def test_depth_speaks_where_the_look_cannot():
    """A bare ball that is claimed to be half a radius nearer and aside."""
    a, b = view(0, printed=False), view(15, printed=False)
    claimed = exp_se3([0, 0, 0, 0.6 * RADIUS_M, 0, -0.5 * RADIUS_M])
    assert judge(a, b, claimed, True).other
    assert not judge(a, b, inverse(object_from_left(15)) @ object_from_left(0), True).other


def test_detail_is_free_of_light_and_of_the_background():
    bare = view(0, printed=False)
    inner = cv2.erode(bare.mask.astype(np.uint8), np.ones((5, 5))) > 0
    assert detail(bare, True)[inner].std() < 2 < detail(view(0), True)[inner].std()


def test_the_hand_bears_out_what_little_of_the_object_shows_in_both_frames():
    """A bowl that turns its inner side away: hardly any of it is seen twice; the hand round it goes together."""
    own, hand = Verdict(0.63, 0.41, 0.0, 782), Verdict(0.82, 0.74, 0.03, 4670)
    assert not own.firm and with_grip(own, hand).firm
    assert with_grip(own, replace(hand, correlation=0.4)) is own
    floats, other = replace(own, floats=0.3), replace(own, correlation=0.2)
    assert with_grip(floats, hand) is floats and with_grip(other, hand) is other
