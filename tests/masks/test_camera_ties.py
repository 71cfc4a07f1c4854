"""A bare table in a room with pictures on its walls: far features tell how the camera turned, the near surface where it is."""

from __future__ import annotations

import numpy as np

from stages.core.geometry.rigid import inverse, part_of, rotation_angle, transform
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.camera_ties import CameraTies
from stages.masks.scenes.motion import Glimpse, SceneMotion
from tests.masks.test_hull import RADIUS, camera
from tests.masks.test_hull import RIG as SMALL

RIG = SMALL.scaled(3)
ROOM_M, STEP_DEG = 3.0, 9.0
"""radius of the room; turn of the camera from frame to frame"""


def _texture(a: np.ndarray, b: np.ndarray, seed: int) -> np.ndarray:
    """Blocks of random grey over two coordinates."""
    table = np.random.default_rng(seed).uniform(20, 235, (64, 64))
    return table[np.floor(a).astype(int) % 64, np.floor(b).astype(int) % 64]


def frame(number: int, pose: np.ndarray) -> WorkingFrame:
    """A ball and its shadow on a dull table, pictures on the round wall, whose disparity is off by up to half a pixel here and there."""
    rng = np.random.default_rng(number)
    v, u = np.mgrid[: RIG.height, : RIG.width]
    ray = RIG.rays(np.stack([u, v], -1)) @ pose[:3, :3].T
    eye = pose[:3, 3]
    a, b, c = (ray**2).sum(-1), (ray * eye).sum(-1), float(eye @ eye)
    room = (-b + np.sqrt(b**2 - a * (c - ROOM_M**2))) / a
    x = eye + ray * room[..., None]
    grey = _texture(np.arctan2(x[..., 0], x[..., 2]) * 20, x[..., 1] * 8, 0)
    depth = room
    down = np.where(ray[..., 1] > 1e-6, ray[..., 1], np.nan)
    table = (RADIUS - eye[1]) / down
    x = eye + ray * table[..., None]
    on_table = np.hypot(x[..., 0], x[..., 2]) < 0.2
    shadow = np.hypot(x[..., 0] - 0.06, x[..., 2] - 0.02) < 0.05
    grey = np.where(on_table, np.where(shadow, 90, 150) + 4 * np.sin(40 * x[..., 0]) * np.sin(30 * x[..., 2]), grey)
    depth = np.where(on_table, table, depth)
    inside = b**2 - a * (c - RADIUS**2)
    ball = (-b - np.sqrt(np.maximum(inside, 0))) / a
    x = eye + ray * ball[..., None]
    grey = np.where(inside > 0, 120 + 40 * x[..., 2] / RADIUS + 30 * np.sin(90 * x[..., 0]), grey)
    depth = np.where(inside > 0, ball, depth)
    wall = ~on_table & (inside <= 0)
    off = np.where(wall, 0.5 * np.sin(u / 40 + 2 * number) * np.cos(v / 30 + number), rng.normal(0, 0.1, grey.shape))
    disparity = (RIG.disparity_from_depth(depth) + off).astype(np.float32)
    picture = np.clip(grey + rng.normal(0, 2, grey.shape), 0, 255).astype(np.uint8)
    return WorkingFrame(number, np.dstack([picture] * 3), disparity, np.full(grey.shape, 0.15, np.float32))


def placed(ties: CameraTies | None, count: int = 5) -> tuple[SceneMotion, list[float]]:
    """The walk, and by how many metres the ball's middle is misplaced in each frame after the first."""
    motion, true = SceneMotion(RIG, ties=ties), [camera(STEP_DEG * k) for k in range(count)]
    for k, pose in enumerate(true):
        assert motion.add(k, Glimpse.of(frame(k, pose), RIG)), k
    first_from = [inverse(true[0]) @ pose for pose in true]
    middles = [transform(inverse(pose), np.zeros(3)) for pose in true]

    def there(poses, k):
        return transform(poses[k], middles[k])

    return motion, [
        float(np.linalg.norm(there(motion.scene_from_left, k) - there(first_from, k))) for k in range(1, count)
    ]


def test_far_features_alone_misplace_the_camera_and_the_surface_mends_it():
    _, far = placed(None)
    motion, tied = placed(CameraTies(np.array([0.0, 0.0, 0.4])))
    assert not motion.by_features and motion.ties.used
    assert max(far) > 0.01
    assert max(tied) < 0.004


def test_a_part_of_a_motion_done_over_again_is_the_motion():
    whole = inverse(camera(0.0)) @ camera(40.0)
    quarter = part_of(whole, 0.25)
    assert np.allclose(np.linalg.matrix_power(quarter, 4), whole, atol=1e-9)
    assert np.isclose(np.degrees(rotation_angle(quarter)), np.degrees(rotation_angle(whole)) / 4)
