"""A capture's tracks made from known poses and points: 24 views round a box of points on a floor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import FramePose, write_poses, write_table
from stages.core.geometry.rigid import exp_se3, inverse, transform
from stages.core.geometry.stereo_points import project_stereo
from stages.core.store import ArtifactRef

RIG = Rig(1280, 720, 1000.0, 1000.0, 640.0, 360.0, 0.06)


@dataclass(frozen=True)
class Made:
    """Truth and noisy observations; poses are left_from_object (F, 4, 4)."""

    poses: np.ndarray
    xyz: np.ndarray
    inside: np.ndarray
    point: np.ndarray
    frame: np.ndarray
    uvr: np.ndarray
    sigma_px: np.ndarray
    outlier: np.ndarray


def look(angle: float, rise: float) -> np.ndarray:
    """left_from_object of a camera half a metre from the origin, y down."""
    eye = 0.5 * np.array([np.sin(angle) * np.cos(rise), -np.sin(rise), -np.cos(angle) * np.cos(rise)])
    z = -eye / np.linalg.norm(eye)
    x = np.cross([0, 1.0, 0], z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3] = [x, np.cross(z, x), z]
    out[:3, 3] = -out[:3, :3] @ eye
    return out


def make(frames: int = 24, noise_px: float = 1.0, outliers: float = 0.05, seed: int = 0) -> Made:
    """Noise is `noise_px` times each observation's sigma, which varies from 0.05 to 1 px."""
    rng = np.random.default_rng(seed)
    poses = np.stack([look(2 * np.pi * k / frames, 0.45 + 0.1 * np.sin(5 * k)) for k in range(frames)])
    own = rng.uniform([-0.05, -0.09, -0.04], [0.05, 0.09, 0.04], (250, 3))
    floor = np.column_stack([rng.uniform(-0.25, 0.25, 350), np.full(350, 0.09), rng.uniform(-0.25, 0.25, 350)])
    xyz = np.concatenate([own, floor])
    point, frame = [], []
    for p in range(len(xyz)):
        first, length = rng.integers(frames), rng.integers(2, 8)
        for k in range(first, first + length):
            point.append(p)
            frame.append(k % frames)
    point, frame = np.array(point), np.array(frame)
    sigma = rng.choice([0.05, 0.1, 0.3, 1.0], len(point), p=[0.3, 0.4, 0.2, 0.1])
    truth = np.stack([project_stereo(RIG, transform(poses[k], xyz[p])) for p, k in zip(point, frame, strict=True)])
    uvr = truth + noise_px * sigma[:, None] * rng.normal(size=truth.shape)
    wrong = rng.random(len(point)) < outliers
    uvr[wrong, :2] += rng.uniform(-20, 20, (int(wrong.sum()), 2))
    uvr[rng.random(len(point)) < 0.1, 2] = np.nan
    return Made(poses, xyz, np.arange(len(xyz)) < 250, point, frame, uvr, sigma, wrong)


def disturbed(poses: np.ndarray, degrees: float = 0.5, metres: float = 0.002, seed: int = 1) -> np.ndarray:
    """Every pose but the first moved a little."""
    rng = np.random.default_rng(seed)
    steps = np.column_stack(
        [np.radians(degrees) * rng.normal(size=(len(poses), 3)), metres * rng.normal(size=(len(poses), 3))]
    )
    steps[0] = 0
    return np.stack([exp_se3(s) @ p for s, p in zip(steps, poses, strict=True)])


def write(
    made: Made, folder: Path, start: np.ndarray, gauge: np.ndarray | None = None, scope: str = "scene"
) -> dict[str, ArtifactRef]:
    """The inputs of `bundle`; `gauge` (4, 4) turns the object frame, as a tracker that knows no floor would."""
    gauge = np.eye(4) if gauge is None else gauge
    folder.mkdir(parents=True, exist_ok=True)
    RIG.save(folder / "rig.json")
    rows = [FramePose(k, gauge @ inverse(p), "ok", 100, 0.3) for k, p in enumerate(start)]
    rows.append(FramePose(len(start), None, "lost", reason="its mask was lost"))
    write_poses(folder / "poses_initial.json", rows)
    write_table(
        folder / "frames.parquet",
        [{"frame": r.frame, "status": "ok", "reason": "", **_bare(folder, r.frame)} for r in rows],
    )
    columns = {
        "u": made.uvr[:, 0],
        "v": made.uvr[:, 1],
        "u_right": made.uvr[:, 2],
        "sigma_px": made.sigma_px,
        "point_xyz": transform(gauge, made.xyz),
    }
    np.savez(
        folder / "tracks.npz",
        point_id=made.point.astype(np.int32),
        frame=made.frame.astype(np.int32),
        inside=made.inside,
        scope=np.array(scope),
        **{k: v.astype(np.float32) for k, v in columns.items()},
    )
    kinds = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "poses_initial.json", "tracks.npz")
    return {k: ArtifactRef(k, folder / k, k) for k in kinds}


def _bare(folder: Path, frame: int) -> dict[str, str]:
    """The frame's pictures: nothing is seen on them; the row's columns."""
    nothing = np.zeros((RIG.height, RIG.width), np.uint8)
    name = f"{frame:06d}.png"
    for place, kind in (
        ("pairs/left", np.uint8),
        ("disparity", np.uint16),
        ("disparity/sigma", np.uint16),
        ("masks", np.uint8),
    ):
        (folder / place).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / place / name), nothing.astype(kind))
    return {"left": f"left/{name}", "right": ""}


def pose_errors(found: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (degrees) and position of the origin (mm) of left_from_object poses, after the frame's gauge that suits the others best."""
    best = None
    for gauge in inverse(found) @ true:
        off = found @ gauge @ inverse(true)
        turn = np.degrees([np.linalg.norm(cv2.Rodrigues(o[:3, :3])[0]) for o in off])
        shift = 1000 * np.linalg.norm((found @ gauge)[:, :3, 3] - true[:, :3, 3], axis=1)
        if best is None or np.median(shift) < np.median(best[1]):
            best = turn, shift
    return best
