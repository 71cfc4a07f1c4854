"""A ball before a wall, moved sideways from frame to frame: small dense views and key points with known truth, without pictures."""

from __future__ import annotations

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.view import DenseView
from stages.track.points.frame_points import FramePoints

RIG = Rig(256, 144, 240.0, 240.0, 127.5, 71.5, 0.06)
RADIUS_M, DISTANCE_M, WALL_M, STEP_M = 0.05, 0.40, 0.80, 0.02


def centre(frame: int) -> np.ndarray:
    return np.array([STEP_M * (frame - 2), 0.0, DISTANCE_M])


def moved(a: int, b: int) -> np.ndarray:
    """b_from_a of the ball."""
    out = np.eye(4)
    out[:3, 3] = centre(b) - centre(a)
    return out


def view(frame: int) -> DenseView:
    """Exact disparity; the mask is the ball's outline."""
    v, u = np.mgrid[: RIG.height, : RIG.width]
    ray = np.stack([(u - RIG.cx) / RIG.fx, (v - RIG.cy) / RIG.fy, np.ones(u.shape)], -1)
    c = centre(frame)
    along, square = ray @ c, (ray**2).sum(-1)
    root = along**2 - square * (c @ c - RADIUS_M**2)
    ball = root > 0
    depth = np.where(ball, (along - np.sqrt(np.maximum(root, 0))) / square, WALL_M)
    disparity = RIG.fx * RIG.baseline_m / depth
    gray = np.full(u.shape, 128, np.uint8)
    return DenseView(gray, disparity.astype(np.float16), np.full(u.shape, 0.2, np.float16), ball, RIG, 1.0)


def points(frame: int, on_ball: int = 60, on_wall: int = 80, seed: int = 0) -> FramePoints:
    """Spots fixed to the ball, then spots fixed to the wall; the same rows in every frame, told apart by their descriptors."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.6, 0.6, (2, on_ball)) * RADIUS_M
    front = np.column_stack([x, y, -np.sqrt(RADIUS_M**2 - x**2 - y**2)]) + centre(frame)
    wall = np.column_stack(
        [rng.uniform(-0.35, 0.35, on_wall), rng.uniform(-0.2, 0.2, on_wall), np.full(on_wall, WALL_M)]
    )
    spots = np.concatenate([front, wall])
    descriptor = rng.integers(0, 120, (len(spots), 128)).astype(np.uint8)
    uv = RIG.project(spots)
    v = view(frame)
    pixel = np.clip(np.rint(uv).astype(int), 0, [RIG.width - 1, RIG.height - 1])
    inside = v.mask[pixel[:, 1], pixel[:, 0]]
    keep = np.r_[np.ones(on_ball, bool), ~inside[on_ball:]]  # the ball hides the wall
    n = np.zeros(len(spots))
    all_points = FramePoints(
        frame,
        uv,
        uv[:, 0] - RIG.fx * RIG.baseline_m / spots[:, 2],
        np.zeros((len(spots), 2)),
        n + 0.1,
        n + 2,
        descriptor,
        inside,
        False,
    )
    return all_points.only(keep)
