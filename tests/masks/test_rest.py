"""When the object rests: runs of frames found from features that keep their place in the scene, and where a bare table's plane is."""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.geometry.rigid import inverse, transform
from stages.masks.scenes.rest import CONTRAST, MOST, NearFeatures, Region, Watched, _described
from stages.masks.scenes.rest_surface import ON_SURFACE, NearSurface, near_surface, normals_of, share_on
from stages.masks.scenes.support import Support, support_plane, turning_axis
from tests.masks.test_hull import RADIUS, RIG, camera

FLOOR = Support(np.array([0.0, 1.0, 0.0]), RADIUS, 1e-4, 1000)
FINE = RIG.scaled(4)
TURNED = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])


def seen(scene: np.ndarray, descriptors: np.ndarray, pose: np.ndarray, rng: np.random.Generator) -> NearFeatures:
    """Four fifths of the points (N, 3) of the scene, as this camera sees them."""
    x = transform(inverse(pose), scene)
    uv = RIG.project(np.where(x[:, 2:] > 0, x, 1.0)) + rng.normal(0, 0.3, (len(x), 2))
    shown = (
        (x[:, 2] > 0.05) & (uv > 0).all(1) & (uv < (RIG.width, RIG.height)).all(1) & (rng.uniform(size=len(x)) < 0.8)
    )
    noise = rng.normal(0, 5, descriptors.shape)
    unknown = np.full((int(shown.sum()), 3), np.nan)
    return NearFeatures(uv[shown], x[shown], (descriptors + noise)[shown].astype(np.float32), unknown, None)


def capture(
    turned_from: int, frames: int = 8, of_object: int = 80
) -> tuple[dict[int, NearFeatures], dict[int, np.ndarray]]:
    """A camera goes round a thing on a floor; from frame `turned_from` on the thing stands turned by 90 degrees."""
    rng = np.random.default_rng(0)
    thing = rng.normal(0, 1, (of_object, 3))
    thing *= 0.7 * RADIUS / np.linalg.norm(thing, axis=1, keepdims=True)
    floor = np.column_stack([rng.uniform(-0.3, 0.3, 300), np.full(300, RADIUS), rng.uniform(-0.3, 0.3, 300)])
    descriptors = np.abs(rng.normal(size=(of_object + 300, 128)))
    descriptors *= 512 / np.linalg.norm(descriptors, axis=1, keepdims=True)
    poses = {k: camera(6.0 * k) for k in range(frames)}

    def scene(k):
        return np.concatenate([thing @ TURNED.T if k >= turned_from else thing, floor])

    return {k: seen(scene(k), descriptors, poses[k], rng) for k in poses}, poses


def region(poses: dict[int, np.ndarray]) -> Region:
    return Region(np.zeros(3), 1.5 * RADIUS, float(np.linalg.norm(poses[0][:3, 3])), FLOOR)


def intervals(found: dict[int, NearFeatures], poses: dict[int, np.ndarray]) -> list[list[int]]:
    return Watched(found, poses, region(poses), RIG).intervals()


def box(pose: np.ndarray, turned_deg: float = 0.0, thickness: float = RADIUS) -> NearSurface:
    """What a camera sees of a bare box (2 x 1.4 x `thickness` / RADIUS radii) that is turned about y."""
    a = np.radians(turned_deg)
    box_from_scene = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    half = np.array([RADIUS, 0.7 * RADIUS, thickness / 2])
    u, v = np.meshgrid(np.arange(FINE.width), np.arange(FINE.height))
    ray = FINE.rays(np.stack([u, v], -1)) @ (box_from_scene @ pose[:3, :3]).T
    start = box_from_scene @ pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = np.sort(np.stack([(-half - start) / ray, (half - start) / ray]), 0)
    enters, leaves = sides[0].max(-1), sides[1].min(-1)
    hit = enters < leaves
    disparity = np.where(hit, FINE.fx * FINE.baseline_m / np.where(hit, enters, 1.0), np.nan)
    return near_surface(disparity, (0, 0), hit, normals_of(disparity, (0, 0), FINE), FINE)


def bare(turn: dict[int, float], thickness: float = RADIUS, step_deg: float = 6.0) -> Watched:
    """A box without a feature, of which frame k is turned by turn[k] degrees, watched by a camera that goes round it."""
    poses = {k: camera(step_deg * k) for k in turn}
    none = np.zeros((0, 3))
    found = {
        k: NearFeatures(none[:, :2], none, np.zeros((0, 128), np.float32), none, box(poses[k], turn[k], thickness))
        for k in turn
    }
    return Watched(found, poses, region(poses), FINE)


def test_the_surface_of_a_bare_box_tells_rest_from_turning():
    assert bare(dict.fromkeys(range(8), 0.0)).shape_stays()
    assert not bare({k: 15.0 * k for k in range(8)}).shape_stays()


def test_a_sheet_that_shows_its_other_side_has_not_moved():
    watched = bare(dict.fromkeys(range(8), 0.0), thickness=0.02 * RADIUS, step_deg=24.0)
    near = watched.neighbours()
    assert watched.shape_stays() and min(watched.by_surface(near)) > 0.8
    front, back = box(camera(0.0), thickness=0.3 * RADIUS), box(camera(180.0), thickness=0.3 * RADIUS)
    assert share_on(front, back, inverse(camera(180.0)) @ camera(0.0), FINE, ON_SURFACE) is None


def test_a_turned_object_makes_two_runs():
    found, poses = capture(turned_from=5)
    assert intervals(found, poses) == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_a_resting_object_makes_one_and_so_does_one_of_which_nothing_is_known():
    found, poses = capture(turned_from=99)
    assert intervals(found, poses) == [list(range(8))]
    bare, poses = capture(turned_from=5, of_object=10)
    assert intervals(bare, poses) == [list(range(8))]


def test_frames_that_were_not_looked_at_go_with_the_one_before():
    found, poses = capture(turned_from=4)
    some = {k: found[k] for k in (0, 2, 4, 6)}
    assert intervals(some, poses) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_of_two_planes_the_one_across_the_cameras_turning_is_the_floor():
    rng = np.random.default_rng(1)
    poses = [camera(6.0 * k) for k in range(8)]
    axis = turning_axis(poses)
    assert axis is not None and abs(axis[1]) > 0.99
    cameras = np.array([p[:3, 3] for p in poses])
    of_object = rng.normal(0, 0.3 * RADIUS, (200, 3))
    beyond = (
        -1.3 * RADIUS * cameras.mean(0) / np.linalg.norm(cameras.mean(0))
    )  # a wall behind it, with more points than the floor
    across = np.cross(cameras.mean(0), [0, 1, 0]) / np.linalg.norm(np.cross(cameras.mean(0), [0, 1, 0]))
    wall = beyond + np.outer(rng.uniform(-0.2, 0.2, 400), across) + np.outer(rng.uniform(-0.2, 0.04, 400), [0, 1, 0])
    floor = np.column_stack([rng.uniform(-0.2, 0.2, 150), np.full(150, RADIUS), rng.uniform(-0.2, 0.2, 150)])
    found = support_plane(np.concatenate([wall, floor]), cameras, of_object, np.random.default_rng(0), axis)
    assert found is not None and found.normal @ [0, 1, 0] > 0.999 and abs(found.offset - RADIUS) < 1e-3


def test_a_camera_that_keeps_its_direction_has_no_axis():
    assert turning_axis([camera(0.0), camera(1.0)]) is None


def test_both_parts_of_a_picture_have_the_features_that_a_search_of_each_alone_finds():
    gray = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 255, (120, 160), np.uint8), (0, 0), 2.0)
    ours = np.zeros(gray.shape, bool)
    ours[30:80, 40:110] = True
    sift, alone = cv2.SIFT_create(contrastThreshold=CONTRAST), []
    for part in (ours, ~ours):
        points = sorted(sift.detect(gray, part.astype(np.uint8)), key=lambda p: -p.response)[:MOST]
        points, descriptors = sift.compute(gray, points)
        assert len(points) > 20
        alone.append((np.array([p.pt for p in points]), descriptors))
    uv, descriptors = _described(gray, [ours, ~ours])
    np.testing.assert_array_equal(uv, np.concatenate([a for a, _ in alone]))
    np.testing.assert_array_equal(descriptors, np.concatenate([d for _, d in alone]))
