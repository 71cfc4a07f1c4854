"""Turns a rectified capture into one as real cameras give it: distorted and turned, with a calibration that fits (or not)."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.stereo_calibration import Camera, StereoCalibration, rigid

LEFT_TURN = np.array([0.004, 0.012, -0.006])
RIGHT_TURN = np.array([-0.003, -0.010, 0.008])
DISTORTION = (np.array([-0.18, 0.06, 0.0005, -0.0004, 0.0]), np.array([-0.15, 0.04, -0.0003, 0.0006, 0.0]))


def calibration_for(rig: Rig, wide: float = 1.0) -> StereoCalibration:
    """Raw cameras whose rectification gives back (a rotation about the baseline apart) the views of `rig`."""
    R1, R2 = (cv2.Rodrigues(v)[0] for v in (LEFT_TURN, RIGHT_TURN))
    K1 = np.array([[0.98 * wide * rig.fx, 0, rig.cx + 4], [0, 0.98 * wide * rig.fx, rig.cy - 3], [0, 0, 1]])
    K2 = np.array([[0.99 * wide * rig.fx, 0, rig.cx - 5], [0, 0.99 * wide * rig.fx, rig.cy + 2], [0, 0, 1]])
    right_from_left = rigid(R2.T @ R1, R2.T @ [-rig.baseline_m, 0, 0])
    cameras = [Camera(K, d) for K, d in zip((K1, K2), DISTORTION, strict=True)]
    return StereoCalibration(*cameras, right_from_left, (rig.width, rig.height), "calibration.json")


def make_raw(
    rectified: Path, out: Path, frames: int = 6, right_error: np.ndarray | None = None
) -> tuple[Path, StereoCalibration]:
    """Write `frames` raw pairs and the calibration. right_error (rotation vector, rad): how the right camera really is turned
    against what the calibration says."""
    rig = Rig.load(rectified / "calibration.json")
    c = calibration_for(rig)
    turns = [cv2.Rodrigues(v)[0] for v in (LEFT_TURN, RIGHT_TURN)]
    if right_error is not None:
        turns[1] = cv2.Rodrigues(np.asarray(right_error, float))[0] @ turns[1]
    for side, camera, turn in zip(("left", "right"), (c.left, c.right), turns, strict=True):
        maps = _maps(rig, camera, turn)
        (out / side).mkdir(parents=True)
        for k in range(frames):
            picture = cv2.imread(str(rectified / side / f"{side}{k:06d}.jpg"))
            cv2.imwrite(
                str(out / side / f"{side}{k:06d}.png"),
                cv2.remap(picture, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
            )
    c.save(out / "calibration.json")
    return out, c


def _maps(rig: Rig, camera: Camera, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each raw pixel lies in the rectified picture."""
    u, v = np.meshgrid(np.arange(rig.width, dtype=float), np.arange(rig.height, dtype=float))
    uv = np.stack([u.ravel(), v.ravel()], 1)[:, None]
    to = cv2.undistortPoints(uv, camera.K, camera.distortion, R=turn, P=rig.K)[:, 0].astype(np.float32)
    return to[:, 0].reshape(u.shape), to[:, 1].reshape(u.shape)


def write_prompt(folder: Path, box: list[float], frame: int = 0) -> None:
    """prompt.json."""
    (folder / "prompt.json").write_text(json.dumps({"frame": frame, "box_xyxy": box}))
