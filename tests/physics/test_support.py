"""How an object stands: stable poses, the plane that was seen, and the frame that follows."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.geometry.rigid import transform
from stages.physics.shapes import Shape, convex_hull
from stages.physics.stable import stable_poses
from stages.physics.support import SEEN, STABLE, TWIN, above_ground, find_support, seen_plane
from tests.physics.made import ball, box, mug


def floor(height: float, tilt_deg: float = 0.0, noise_m: float = 0.0005, count: int = 800) -> np.ndarray:
    """Points on a plane below (y down), a tenth of them somewhere else."""
    rng = np.random.default_rng(4)
    points = np.stack([rng.uniform(-0.2, 0.2, count), np.full(count, height), rng.uniform(-0.2, 0.2, count)], 1)
    points[:, 1] += np.tan(np.radians(tilt_deg)) * points[:, 0] + rng.normal(0, noise_m, count)
    points[: count // 10, 1] -= rng.uniform(0.01, 0.2, count // 10)
    return points


def poses_of(shape: Shape):
    return stable_poses(convex_hull(shape.vertices), shape.vertices.mean(0))


def test_a_box_stands_on_six_sides_and_most_likely_on_the_largest():
    found = poses_of(box((0.04, 0.1, 0.2)))
    assert len(found) == 6 and sum(p.probability for p in found) == pytest.approx(1, abs=1e-6)
    assert np.allclose([abs(p.up[0]) for p in found[:2]], 1, atol=1e-9), "flat"
    assert found[0].probability > 0.3 > found[2].probability


def test_a_leaning_block_never_stands_on_its_ends():
    shape = box((0.04, 0.1, 0.04))
    leaning = shape.vertices + shape.vertices[:, [1, 0, 2]] * [0.6, 0, 0]
    found = stable_poses(convex_hull(leaning), leaning.mean(0))
    assert (
        len(found) == 4
        and all(abs(p.up[1]) < 0.9 for p in found)
        and sum(p.probability for p in found) == pytest.approx(1)
    )


def test_a_ball_rests_anywhere():
    assert stable_poses(convex_hull(ball().vertices, 300), np.zeros(3))


def test_the_seen_plane_is_found_within_a_tenth_of_a_millimetre():
    shape = box((0.06, 0.1, 0.06))
    found = seen_plane(shape, floor(0.05, tilt_deg=2.0))
    assert np.degrees(np.arccos(found.up @ [np.sin(np.radians(2)), -np.cos(np.radians(2)), 0])) < 0.1
    assert abs(found.height - -0.05 * np.cos(np.radians(2))) < 2e-4


@pytest.mark.parametrize(
    "scene",
    [np.zeros((0, 3)), floor(0.05)[:30], floor(-0.2), floor(0.05, tilt_deg=20)],
    ids=["none", "few", "a ceiling", "another up than the frame's"],
)
def test_where_no_plane_is_seen_there_is_none(scene):
    assert seen_plane(box((0.06, 0.1, 0.06)), scene) is None


def test_upright_is_as_it_was_seen_to_stand_though_it_would_rather_lie():
    shape = box((0.06, 0.2, 0.06), (0.3, 0.1, 0.2))
    centre = np.array([0.31, 0.1, 0.2])
    scene = floor(0.2, tilt_deg=1.0) + np.array([0.3, 0, 0.2])
    found = find_support(shape, seen_plane(shape, scene), centre, poses_of(shape), keep_frame=False)
    assert found.source == SEEN and found.settles_deg == pytest.approx(1.0, abs=0.1)
    up = transform(found.upright_from_object, shape.vertices)
    assert up[:, 2].min() == pytest.approx(0, abs=1e-9) and up[:, 2].max() > 0.19, "it stands"
    assert np.allclose(transform(found.upright_from_object, centre)[:2], 0, atol=1e-9)
    turn = found.upright_from_object[:3, :3]
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert turn[0, 0] > 0.99, "its front stays its front"


def test_without_a_plane_it_lies_as_it_most_likely_would_and_the_frame_can_be_kept():
    shape = box((0.06, 0.2, 0.06))
    found = find_support(shape, None, np.zeros(3), poses_of(shape), keep_frame=False)
    assert found.source == STABLE and transform(found.upright_from_object, shape.vertices)[:, 2].max() == pytest.approx(
        0.06
    )
    kept = find_support(shape, None, np.zeros(3), poses_of(shape), keep_frame=True)
    assert kept.source == TWIN and np.allclose(
        transform(kept.upright_from_object, np.array([0.0, -0.1, 0.0])), (0, 0, 0.1)
    )


def test_what_reaches_below_the_ground_is_cut_off_there():
    shape = mug(0.003)
    lifted = above_ground(shape.vertices, np.array([0.0, -1.0, 0.0]), -0.04)
    above = shape.vertices[:, 1] < 0.04
    assert lifted[:, 1].max() == pytest.approx(0.04) and np.array_equal(lifted[above], shape.vertices[above])
