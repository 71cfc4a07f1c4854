"""What a depth camera's folder holds, whole, and how it is read: for the fuzz test."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from stages.core.rgbd_files import find_rgbd
from stages.rgbd.config import RgbdConfig
from stages.rgbd.depth_reading import read_raw_depth
from stages.rgbd.reading import open_capture

_K = [40.0, 0, 15.5, 0, 40.0, 11.5, 0, 0, 1]
_DEPTH = {"fx": 30, "fy": 30, "ppx": 15, "ppy": 11, "coeffs": [0, 0, 0, 0, 0], "width": 32, "height": 24}
_BETWEEN = {"rotation": [1, 0, 0, 0, 1, 0, 0, 0, 1], "translation": [0.015, 0, 0]}
CAMERA = json.dumps(
    {"color": {"K": _K, "distortion": [0.1, 0, 0, 0, 0]}, "depth": _DEPTH, "extrinsics": _BETWEEN, "depth_scale": 1000}
).encode()
OPEN3D = json.dumps({"width": 32, "height": 24, "intrinsic_matrix": np.reshape(_K, (3, 3)).T.ravel().tolist()}).encode()
K_TXT = b"40 0 15.5\n0 40 11.5\n0 0 1\n"
LIST = b"1.0 rgb/0.png 1.1 depth/0.png\n2.0 rgb/1.png 2.0 depth/1.png\n"


def _array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.full((24, 32), 0.5, np.float32))
    return out.getvalue()


def _tiff() -> bytes:
    return cv2.imencode(".tif", np.full((24, 32), 0.5, np.float32))[1].tobytes()


def _open(path: Path) -> None:
    """As the stage does, with the file that is damaged among whole ones."""
    root = path.parent
    for k in range(2):
        for folder, picture in (("rgb", np.zeros((24, 32, 3), np.uint8)), ("depth", np.full((24, 32), 500, np.uint16))):
            (root / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(root / folder / f"{k}.png"), picture)
    config = RgbdConfig(intrinsics=(40, 40, 15.5, 11.5)) if path.name == "associations.txt" else RgbdConfig()
    opened = open_capture(find_rgbd(root), config)
    opened.depth(0, opened.registering)


FILES: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "camera": ("camera.json", CAMERA, _open),
    "open3d": ("camera_intrinsic.json", OPEN3D, _open),
    "k": ("cam_K.txt", K_TXT, _open),
    "list": ("associations.txt", LIST, _open),
    "array": ("x.npy", _array(), read_raw_depth),
    "tiff": ("x.tif", _tiff(), read_raw_depth),
}
