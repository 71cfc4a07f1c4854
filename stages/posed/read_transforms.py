"""transforms*.json of Blender (NeRF-synthetic, nvdiffrec) and of nerfstudio (instant-ngp): `transform_matrix` is world_from_camera in
OpenGL axes; intrinsics for all frames or one by one, as a field of view or in pixels with a principal point from the picture's corner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.plain_files import read_json
from stages.core.posed_cameras import (
    LensModel,
    PosedCamera,
    PosedSet,
    from_opengl,
    pinhole,
    require_camera_matrix,
    require_rigid,
)
from stages.posed.values import matrix, number, picture_at, refuse_count, size_of

NAMES = ("transforms.json", "transforms_train.json")
LENSES: dict[str, LensModel] = {
    "PINHOLE": "none",
    "SIMPLE_PINHOLE": "none",
    "OPENCV": "opencv",
    "SIMPLE_RADIAL": "opencv",
    "RADIAL": "opencv",
    "OPENCV_FISHEYE": "fisheye",
    "FISHEYE": "fisheye",
}
_OPENCV, _FISHEYE = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"), ("k1", "k2", "k3", "k4")
NERFSTUDIO_DEPTH_UNIT = 1e-3
"""world units per level of a depth picture, where the file does not say"""


def find(root: Path) -> Path | None:
    """The file, or None."""
    return next((root / n for n in NAMES if (root / n).is_file()), None)


def read(root: Path, path: Path, axes: str = "opengl") -> PosedSet:
    """All frames of `path`; `axes`: "opengl", or "opencv" for files whose matrices are so. Raises CaptureError by file and frame."""
    data = read_json(path)
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames):
        raise CaptureError(
            f"{path.name}: no list of frames",
            'expected {"camera_angle_x": .., "frames": [{"file_path", "transform_matrix"}]}',
        )
    refuse_count(len(frames), path, 1)
    cameras, notes = [], []
    for i, frame in enumerate(frames):
        cameras.append(
            _camera(
                root, path, data, frame, where=f"{path.name}, frame {i} ({str(frame.get('file_path'))[:80]})", axes=axes
            )
        )
    _refuse_twice(cameras, path)
    if "applied_transform" in data or "applied_scale" in data:
        notes.append(
            f"{path.name} moved or scaled its world (applied_transform, applied_scale); the twin lies in the moved one"
        )
    unit = number(data, "depth_unit_scale_factor", path.name, NERFSTUDIO_DEPTH_UNIT)
    kind = "nerfstudio" if any(k in data or k in frames[0] for k in ("fl_x", "camera_model", "w")) else "blender"
    return PosedSet(kind, path, tuple(cameras), notes=tuple(notes), depth_unit=unit)


def _camera(
    root: Path, path: Path, data: Mapping[str, Any], frame: Mapping[str, Any], where: str, axes: str
) -> PosedCamera:
    picture = picture_at(root, frame.get("file_path"), where)
    if "transform_matrix" not in frame:
        raise CaptureError(f"{where}: no transform_matrix", "each frame needs its camera")
    pose = require_rigid(matrix(frame["transform_matrix"], ((4, 4), (3, 4)), f"{where}: transform_matrix"), where)
    both = {**data, **frame}
    size = size_of(picture)
    K = require_camera_matrix(_intrinsics(both, size, where), size, where)
    lens, distortion = _distortion(both, where)
    named = {
        k: picture_at(root, frame[key], where)
        for k, key in (("mask", "mask_path"), ("depth", "depth_file_path"))
        if frame.get(key)
    }
    name = str(frame["file_path"]).removeprefix("./")
    world_from_camera = from_opengl(pose) if axes == "opengl" else pose
    return PosedCamera(
        name, picture, K, world_from_camera, *size, lens, distortion, named.get("mask"), named.get("depth")
    )


def _intrinsics(values: Mapping[str, Any], size: tuple[int, int], where: str) -> np.ndarray:
    w, h = size
    stated = number(values, "w", where, w), number(values, "h", where, h)
    if "fl_x" in values:
        sx, sy = _shrunk(stated, size, where)
        fx = number(values, "fl_x", where)
        cx, cy = number(values, "cx", where, stated[0] / 2), number(values, "cy", where, stated[1] / 2)
        return pinhole(fx * sx, number(values, "fl_y", where, fx) * sy, cx * sx - 0.5, cy * sy - 0.5)
    if "camera_angle_x" not in values:
        raise CaptureError(
            f"{where}: neither fl_x nor camera_angle_x",
            "give the focal length in px, or the horizontal field of view in radians",
        )
    f = w / 2 / math.tan(_angle(values, "camera_angle_x", where) / 2)
    fy = h / 2 / math.tan(_angle(values, "camera_angle_y", where) / 2) if "camera_angle_y" in values else f
    return pinhole(f, fy, w / 2 - 0.5, h / 2 - 0.5)


def _angle(values: Mapping[str, Any], key: str, where: str) -> float:
    angle = number(values, key, where)
    if not 1e-3 < angle < math.pi - 1e-3:
        raise CaptureError(f"{where}: {key} is {angle:g} rad", "give the field of view in radians, between 0 and pi")
    return angle


def _shrunk(stated: tuple[float, float], size: tuple[int, int], where: str) -> tuple[float, float]:
    """How much smaller the pictures are than the file says, along x and y."""
    if min(stated) < 1:
        raise CaptureError(f"{where}: w, h are {stated}", "give the pictures' size in px")
    sx, sy = size[0] / stated[0], size[1] / stated[1]
    if abs(sx * stated[1] - size[1]) > 2:
        raise CaptureError(
            f"{where}: the picture has {size[0]}x{size[1]} px, the file says {stated[0]:g}x{stated[1]:g}",
            "the picture was cropped or turned: give the size that its intrinsics hold for",
        )
    return sx, sy


def _distortion(values: Mapping[str, Any], where: str) -> tuple[LensModel, tuple[float, ...]]:
    model = str(values.get("camera_model", "OPENCV")).upper()
    if model not in LENSES:
        raise CaptureError(
            f"{where}: camera_model {model[:40]}", f"undistort the pictures first, or use one of {', '.join(LENSES)}"
        )
    lens = LENSES[model]
    if lens == "none":
        return "none", ()
    found = tuple(number(values, k, where, 0.0) for k in (_FISHEYE if lens == "fisheye" else _OPENCV))
    if max(abs(x) for x in found) > 1e3:
        raise CaptureError(f"{where}: distortion {found}", "coefficients are small numbers without unit")
    return (lens, found) if any(found) else ("none", ())


def _refuse_twice(cameras: list[PosedCamera], path: Path) -> None:
    seen: dict[Path, int] = {}
    for i, c in enumerate(cameras):
        if c.picture in seen:
            raise CaptureError(
                f"{path.name}: frames {seen[c.picture]} and {i} are of one picture ({c.name})", "keep one of them"
            )
        seen[c.picture] = i
