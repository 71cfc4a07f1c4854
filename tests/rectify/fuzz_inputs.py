"""Whole files of every kind that the readers know: what gets damaged."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.stereo_calibration import Camera, StereoCalibration, rigid

K = [[900.0, 0, 322.5], [0, 901, 236.25], [0, 0, 1]]


def picture(kind: str, depth: type = np.uint8) -> bytes:
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (64, 48)).astype(depth)
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if kind == "progressive" else []
    shown = image if depth is np.uint8 else image[..., 0] * 200
    return cv2.imencode(".jpg" if kind == "progressive" else f".{kind}", shown, flags)[1].tobytes()


def opencv_storage(suffix: str, folder: Path) -> bytes:
    path = folder / f"whole.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    values = {
        "M1": K,
        "D1": [[-0.2, 0.05, 0, 0, 0]],
        "M2": K,
        "D2": [[0.1, 0, 0, 0, 0]],
        "R": np.eye(3),
        "T": [[-0.06], [0], [0]],
    }
    for key, value in values.items():
        storage.write(key, np.array(value))
    storage.release()
    return path.read_bytes()


def raw_json(folder: Path) -> bytes:
    camera = Camera(np.array(K), np.array([-0.2, 0.05, 0.001, 0, 0]))
    StereoCalibration(camera, camera, rigid(np.eye(3), np.array([-0.06, 0, 0])), (640, 480), "x").save(
        folder / "whole.json"
    )
    return (folder / "whole.json").read_bytes()


def rectified_json(folder: Path) -> bytes:
    Rig(640, 480, 900, 900, 322.5, 236.25, 0.06).save(folder / "whole.json")
    return (folder / "whole.json").read_bytes()


MIDDLEBURY = (
    b"cam0=[999.4 0 294.1; 0 999.4 252.9; 0 0 1]\n"
    b"cam1=[999.4 0 326.8; 0 999.4 252.9; 0 0 1]\ndoffs=32.7\nbaseline=193\nwidth=741\nheight=497\n"
)
NVIDIA = b"camera_config:\n  intrinsic: [900, 0, 322, 0, 900, 236, 0, 0, 1]\nfoundation_stereo:\n  baseline: 0.06\n"
_EYE = (
    b"  camera_model: pinhole\n  distortion_coeffs: [0.1, 0.0, 0.0, 0.0]\n  distortion_model: radtan\n"
    b"  intrinsics: [900.0, 901.0, 322.0, 236.0]\n  resolution: [640, 480]\n"
)
KALIBR = (
    b"cam0:\n"
    + _EYE
    + b"cam1:\n  T_cn_cnm1:\n  - [1.0, 0.0, 0.0, -0.06]\n  - [0.0, 1.0, 0.0, 0.0]\n  - [0.0, 0.0, 1.0, 0.0]\n"
    b"  - [0.0, 0.0, 0.0, 1.0]\n" + _EYE
)
PROMPT = json.dumps(
    {
        "frame": 1,
        "box_xyxy": [100, 60, 300, 250],
        "points": [[200, 150, 1], [10, 10, 0]],
        "corrections": [{"frame": 4, "points": [[20, 30, 0]]}, {"frame": 6, "mask": "six.png"}],
    }
).encode()
POSES = json.dumps(
    {
        "convention": "x",
        "frames": [
            {
                "frame": k,
                "object_from_left": np.eye(4).tolist() if k else None,
                "status": "ok",
                "inliers": 3,
                "rms_px": 0.5,
                "reason": "",
            }
            for k in range(3)
        ],
    }
).encode()
SETTINGS = (
    b"seed: 3\nlicence: any\nrectify:\n  box: [1, 2, 300, 200]\n  max_width: 640\npackage: {usd: off, roughness: 0.5}\n"
    b"depth:\n  method: sgm\n"
)
REGISTRY = (
    b"mine:\n  title: a\n  address: null\n  page: b\n  download: c.onnx\n  sha256: null\n  bytes: 12\n  licence: MIT\n"
    b"  commercial: true\n  used_by: [depth.method=onnx]\n  model: {scale: 1.5, names: [a, b]}\n"
)


def videos(folder: Path) -> dict[str, bytes]:
    made = {}
    for suffix, code in (("mp4", "mp4v"), ("avi", "MJPG"), ("mkv", "mp4v")):
        path = folder / f"whole.{suffix}"
        out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (64, 48))
        for k in range(6):
            out.write(np.full((48, 64, 3), 40 * k, np.uint8))
        out.release()
        made[suffix] = path.read_bytes()
    return made
