"""A textured wall before a camera that moves a little from frame to frame: inputs of `track` that simple features can match."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import FramePose, write_poses, write_table
from stages.core.geometry.rigid import inverse
from stages.core.images import write_disparity, write_mask, write_rgb, write_sigma
from stages.core.store import ArtifactRef

RIG = Rig(320, 256, 400.0, 400.0, 161.0, 126.0, 0.05)
DISTANCE_M, PIXELS_PER_M = 0.5, 1000
POSE_STEP = np.array([0.010, -0.006, 0.008, 0.012, 0.02, -0.015])
"""per frame: metres along x, y, z, then radians about them"""


def make(out: Path, frames: int = 4, seed: int = 0) -> dict[str, ArtifactRef]:
    """References by kind, as tests/truth_inputs.py makes them; the mask is the middle of the picture."""
    texture = _texture(seed)
    poses = {k: world_from_left(k) for k in range(frames)}
    for folder in ("pairs/left", "pairs/right", "masks", "disparity/sigma"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    mask = np.zeros((RIG.height, RIG.width), bool)
    mask[60:200, 80:240] = True
    for k, pose in poses.items():
        for side, shift in (("left", 0.0), ("right", RIG.baseline_m)):
            eye = pose.copy()
            eye[:3, 3] += eye[:3, 0] * shift
            write_rgb(
                out / "pairs" / side / f"{k:06d}.jpg",
                cv2.remap(texture, *_seen(eye, texture.shape), cv2.INTER_LINEAR),
                97,
            )
        write_mask(out / "masks" / f"{k:06d}.png", mask)
        disparity = RIG.disparity_from_depth(_depth(pose))
        write_disparity(out / "disparity" / f"{k:06d}.png", disparity)
        write_sigma(out / "disparity/sigma" / f"{k:06d}.png", np.full(disparity.shape, 0.1))
    RIG.save(out / "rig.json")
    names = ("left", "right")

    def row(k):
        return {"frame": k, "status": "ok", "reason": "", **{s: f"{s}/{k:06d}.jpg" for s in names}}

    write_table(out / "frames.parquet", [row(k) for k in poses])
    area = int(mask.sum())
    write_table(
        out / "masks.parquet",
        [{"frame": k, "status": "ok", "trust": 1.0, "area_px": area, "reason": ""} for k in poses],
    )
    write_poses(out / "poses.json", [FramePose(k, pose, "ok") for k, pose in poses.items()])
    return {p.name: ArtifactRef(p.name, p, p.name) for p in out.iterdir()}


def world_from_left(frame: int) -> np.ndarray:
    """(4, 4): the wall is z = 0 and looked at along +z from DISTANCE_M before it."""
    step = POSE_STEP * frame
    out = np.eye(4)
    out[:3, :3] = cv2.Rodrigues(step[3:])[0]
    out[:3, 3] = step[:3] - [0, 0, DISTANCE_M]
    return out


def flow(a: int, b: int, uv: np.ndarray) -> np.ndarray:
    """(N, 2) px in the left picture of frame a -> the same spots in frame b."""
    pose = world_from_left(a)
    x = RIG.backproject(uv, _depth_at(pose, uv))
    b_from_a = inverse(world_from_left(b)) @ pose
    return RIG.project(x @ b_from_a[:3, :3].T + b_from_a[:3, 3])


def _texture(seed: int) -> np.ndarray:
    """(1000, 1200, 3) uint8 blots of two sizes, in colour; its middle is the world's origin."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(size=(1000, 1200, 3)), (0, 0), s) for s in (2.0, 5.0)]
    mixed = sum(layer / layer.std() for layer in layers)
    return np.clip(128 + 36 * mixed, 0, 255).astype(np.uint8)


def _pixels() -> np.ndarray:
    v, u = np.mgrid[: RIG.height, : RIG.width]
    return np.column_stack([u.ravel(), v.ravel()]).astype(np.float64)


def _depth_at(pose: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Depth of the wall along each pixel's ray."""
    direction = RIG.backproject(uv, np.ones(len(uv))) @ pose[:3, :3].T
    return -pose[2, 3] / direction[:, 2]


def _depth(pose: np.ndarray) -> np.ndarray:
    return _depth_at(pose, _pixels()).reshape(RIG.height, RIG.width)


def _seen(pose: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where in the texture each pixel looks."""
    uv = _pixels()
    x = RIG.backproject(uv, _depth_at(pose, uv)) @ pose[:3, :3].T + pose[:3, 3]
    at = x[:, :2] * PIXELS_PER_M + np.array([shape[1], shape[0]]) / 2
    return tuple(at[:, i].reshape(RIG.height, RIG.width).astype(np.float32) for i in (0, 1))
