"""The voxel hull: its kernels against numpy twins, a ball from its silhouettes, one wrong mask outvoted; and the scene's motion."""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform
from stages.masks.cut.outline import signed_distance
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.hull import Hull
from stages.masks.scenes.motion import place
from stages.masks.scenes.moving import _room
from tests.masks.flat_scene import jaccard

RIG = Rig(160, 120, 200.0, 200.0, 79.5, 59.5, 0.06)
RADIUS = 0.05


def camera(turn_deg: float, lift_deg: float = 20.0) -> np.ndarray:
    """scene_from_left of a camera 0.4 m from the origin that looks at it."""
    a, b = np.radians([turn_deg, lift_deg])
    z = np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.stack([x, np.cross(z, x), z], 1), -0.4 * z
    return out


def ball(scene_from_left: np.ndarray, radius: float = RADIUS) -> np.ndarray:
    """(H, W) bool: rays that pass the origin within the radius."""
    v, u = np.mgrid[: RIG.height, : RIG.width]
    ray = RIG.rays(np.stack([u, v], -1)) @ scene_from_left[:3, :3].T
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    return np.linalg.norm(np.cross(ray, scene_from_left[:3, 3]), axis=-1) < radius


def full() -> Hull:
    return Hull.box(np.full(3, -0.07), np.full(3, 0.07), 60_000)


def test_votes_equal_their_numpy_twin():
    hull, pose = full(), camera(30)
    mask = ball(pose)
    hull.vote(mask, pose, RIG, slack_px=1.0)
    uv = RIG.project(transform(inverse(pose), hull.centres.astype(float)))
    x, y = np.floor(uv + 0.5).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < RIG.width) & (y < RIG.height)
    expected = np.zeros(len(uv), bool)
    expected[inside] = signed_distance(mask)[y[inside], x[inside]] < -1
    assert np.array_equal(hull.seen > 0, inside)
    assert (hull.against.astype(bool) != expected).mean() < 1e-3  # float32 at pixel borders


def test_ball_from_twelve_views():
    hull = full()
    for turn in range(0, 360, 30):
        hull.vote(ball(camera(turn)), camera(turn), RIG)
    r = np.linalg.norm(hull.centres[hull.alive], axis=1)
    assert (np.linalg.norm(hull.centres[~hull.alive], axis=1) > RADIUS - hull.edge_m).all()
    assert np.percentile(r, 90) < 1.15 * RADIUS
    unseen = camera(45)
    predicted, disparities = hull.silhouette(unseen, RIG)
    assert (ball(unseen) & ~predicted).sum() < 20 and jaccard(
        predicted, ball(unseen)
    ) > 80  # spared slack and voxels: a little wide
    assert disparities[0] < RIG.fx * RIG.baseline_m / 0.4 < disparities[1]


def test_one_wrong_mask_is_outvoted():
    hull = full()
    for turn in range(0, 360, 30):
        mask = ball(camera(turn))
        if turn == 60:
            mask[:, : RIG.width // 2] = False
        hull.vote(mask, camera(turn), RIG)
    assert jaccard(hull.silhouette(camera(60), RIG)[0], ball(camera(60))) > 80


def test_nothing_of_a_ball_is_nearer_than_the_front_of_its_hull():
    hull, pose = full(), camera(45)
    for turn in range(0, 360, 30):
        hull.vote(ball(camera(turn)), camera(turn), RIG)
    front = hull.front(pose, RIG)
    assert np.array_equal(np.isfinite(front) & ball(pose), ball(pose) & hull.silhouette(pose, RIG)[0])
    middle = front[RIG.height // 2, RIG.width // 2]
    nearest = RIG.fx * RIG.baseline_m / (0.4 - RADIUS)
    assert nearest < middle < 1.1 * nearest
    assert np.isnan(front[0, 0])


def test_only_the_pieces_that_hold_the_seed_are_the_object():
    hull = full()

    def lump(at):
        return np.linalg.norm(hull.centres - np.array(at, np.float32), axis=1) < 0.02

    places = [-0.04, 0, 0], [0.045, 0, 0], [0, 0.05, 0]
    hull.keep(np.logical_or.reduce([lump(at) for at in places]))
    ours, _, bit = (lump(at) for at in places)
    points = np.concatenate([hull.centres[ours][::3], hull.centres[bit][:1]])
    assert np.array_equal(hull.pieces_with(points.astype(float)), ours)
    far = np.full((10, 3), 0.069)
    assert hull.pieces_with(far).all()


def test_out_of_view_gives_no_prediction():
    pose = camera(0)
    pose[:3, 3] += pose[:3, 0] * 2
    predicted, disparities = full().silhouette(pose, RIG)
    assert not predicted.any() and disparities is None


def test_signed_distance_is_zero_between_pixels():
    mask = np.zeros((9, 9), bool)
    mask[:, 4:] = True
    assert np.allclose(signed_distance(mask)[4], np.arange(9) - 3.5, atol=0.05)


def test_camera_motion_of_the_generated_capture(truth):
    """Most cameras are placed, and most of those to half a degree and half a centimetre, although frames are 22 degrees apart."""
    from stages.core.frames import FrameReader, read_poses
    from stages.core.geometry.rigid import rotation_angle
    from stages.masks.frame.working_frame import load
    from stages.masks.scenes.camera_ties import CameraTies
    from stages.masks.scenes.motion import Glimpse, SceneMotion

    rig, reader = Rig.load(truth["rig.json"].path), FrameReader.of(truth)
    true = {p.frame: p.object_from_left for p in read_poses(truth["poses.json"].path)}
    motion = SceneMotion(rig, ties=CameraTies(inverse(true[0])[:3, 3]))
    for f in reader.ids:
        motion.add(f, Glimpse.of(load(reader, f, 1.0), rig))
    errors = [inverse(inverse(true[0]) @ true[f]) @ pose for f, pose in motion.scene_from_left.items()]
    assert len(errors) >= 0.8 * len(reader.ids)
    assert np.median([np.degrees(rotation_angle(e)) for e in errors]) < 0.5
    assert np.median([np.linalg.norm(e[:3, 3]) for e in errors]) < 0.005


def test_points_all_in_one_place_do_not_place_a_camera():
    """Thirty matches of one point, and of two: no pose, and no fault of the solver."""
    rig = Rig(640, 480, 600.0, 600.0, 320.0, 240.0, 0.06)
    for count in (1, 2):
        xyz = np.tile(np.array([[0.01, 0.02, 0.5], [0.1, -0.02, 0.7]])[:count], (30, 1))
        assert place(xyz + np.arange(len(xyz))[:, None] * 1e-9, rig.project(xyz), rig)[0] is None


def test_features_of_a_flat_picture_are_none():
    from stages.masks.scenes.motion import Glimpse, SceneMotion

    flat = np.full((120, 160), 90, np.uint8)
    textured = cv2.resize(np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8), (160, 120))
    disparity, sigma = np.full(flat.shape, 20, np.float32), np.full(flat.shape, 0.2, np.float32)
    bare, printed = (
        Glimpse.of(WorkingFrame(0, np.dstack([gray] * 3), disparity, sigma), RIG) for gray in (flat, textured)
    )
    motion = SceneMotion(RIG)
    assert len(bare.features.uv) == 0
    assert motion.add(0, printed)
    assert not motion.add(1, bare)


def test_the_hull_starts_with_room_for_the_side_that_is_not_seen():
    """A slanted box of which the first frame sees three faces: all of it must lie in the room, in perspective too."""
    corners = np.stack(np.meshgrid([-0.05, 0.05], [-0.03, 0.03], [-0.06, 0.06], indexing="ij"), -1).reshape(-1, 3)
    x = corners @ cv2.Rodrigues(np.array([0.5, 0.7, 0.1]))[0].T + [0, 0, 0.34]
    mask = np.zeros((RIG.height, RIG.width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(RIG.project(x)).astype(np.int32)), 1)
    seen = x[np.argsort(x[:, 2])[:6]]
    low, high = _room(seen, mask > 0, RIG)
    assert (x.min(0) > low).all() and (x.max(0) < high).all()
    mask[:, RIG.width // 2 :] = 1  # cut by the border: it may go on beyond it
    assert _room(seen, mask > 0, RIG)[1][0] > high[0] + 0.05
