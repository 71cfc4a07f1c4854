"""The lenses of a depth camera, and where the depth sensor stands, from whatever file says so.

camera.json: {"color": LENS[, "depth": LENS, "color_from_depth": {"R": [9], "t_m": [3]}][, "registered": true][, "depth_scale": 1000]}
    LENS: {"K": [9]} or {"fx", "fy", "cx", "cy"} (or librealsense's ppx, ppy), optional "image_size" or "width" and "height",
    "distortion" (OpenCV order; librealsense's "coeffs"). "depth" is left out where depth is registered to colour.
    depth_scale: units of a value per metre. "extrinsics" with "rotation" (column by column) and "translation", as librealsense writes
    them, lead from depth to colour. One LENS alone is the colour lens.
camera_intrinsic.json: Open3D's width, height, intrinsic_matrix (column by column).    cam_K.txt, K.txt, intrinsics.txt: nine numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.json_entries import entry, matrix, number, numbers, refuse_unknown
from stages.core.plain_files import read_json, read_text
from stages.core.stereo_calibration import Camera, picture_size, rigid

_TOP = ("schema_version", "color", "colour", "depth", "color_from_depth", "extrinsics", "registered", "depth_scale")
_LENS = ("K", "fx", "fy", "cx", "cy", "ppx", "ppy", "image_size", "width", "height", "distortion", "coeffs", "model")
_PLAIN_MODELS = ("", "none", "pinhole", "brown_conrady", "modified_brown_conrady")


@dataclass(frozen=True)
class Lens:
    """One camera and the (width, height) it holds for, None where the file does not say."""

    camera: Camera
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class DepthCamera:
    """`depth` None: the depth is registered to colour, pixel by pixel (`registered`: the file says so itself). color_from_depth (4, 4)."""

    colour: Lens
    source: str
    depth: Lens | None = None
    color_from_depth: np.ndarray | None = None
    registered: bool = False
    units_per_metre: float = 0.0
    """0: the file does not say"""


def read_camera(path: Path | None, intrinsics: tuple[float, ...] | None) -> DepthCamera:
    """The setting counts before the file. Raises CaptureError."""
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics
        return DepthCamera(Lens(Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]))), "rgbd.intrinsics")
    if path is None:
        raise CaptureError(
            "the capture says nothing of its lens (looked for camera.json, camera_intrinsic.json, cam_K.txt, K.txt, "
            "intrinsics.txt)",
            "add one of them, or set rgbd.intrinsics=[fx,fy,cx,cy] in px of the colour pictures",
        )
    if path.suffix == ".txt":
        return DepthCamera(Lens(Camera(_nine_numbers(path))), path.name)
    data = read_json(path)
    if isinstance(data, dict) and "intrinsic_matrix" in data:
        return DepthCamera(_open3d(data, path.name), path.name)
    return _own(data, path.name)


def _nine_numbers(path: Path) -> np.ndarray:
    words = read_text(path).replace(",", " ").split()
    try:
        found = np.array([float(w) for w in words])
    except ValueError as e:
        raise CaptureError(
            f"{path.name} holds more than numbers: {str(e)[:60]}", "write nine numbers, row by row"
        ) from e
    if found.size not in (9, 16):
        raise CaptureError(
            f"{path.name} holds {found.size} numbers; expected nine", "write K row by row: fx 0 cx 0 fy cy 0 0 1"
        )
    return found.reshape(3, 3) if found.size == 9 else found.reshape(4, 4)[:3, :3]


def _open3d(data: dict[str, Any], source: str) -> Lens:
    size = picture_size(entry(data, "width", source), entry(data, "height", source), source)
    return Lens(Camera(matrix(data["intrinsic_matrix"], 3, "intrinsic_matrix", source).T), size)


def _own(data: Any, source: str) -> DepthCamera:
    if isinstance(data, dict) and ("K" in data or "fx" in data):
        return DepthCamera(_lens(data, source), source)
    if not isinstance(data, dict) or not ("color" in data or "colour" in data):
        raise CaptureError(f"{source} has no entry 'color'", 'write {"color": {"K": [9 numbers]}}, see docs/rgbd.md')
    refuse_unknown(data, _TOP, source)
    colour = _lens(data.get("color", data.get("colour")), f"{source}: color")
    depth = _lens(data["depth"], f"{source}: depth") if data.get("depth") is not None else None
    registered, scale = data.get("registered", depth is None), data.get("depth_scale", 0)
    if not isinstance(registered, bool):
        raise CaptureError(
            f"{source}: registered is {str(registered)[:40]!r}; expected true or false", "correct the file"
        )
    if registered and depth is not None:
        raise CaptureError(
            f"{source} calls the depth registered to colour and gives it a lens of its own",
            "remove depth where it is registered, or set registered to false",
        )
    if not registered and depth is None:
        raise CaptureError(
            f"{source}: the depth is not registered to colour, and its lens is not given",
            "add depth (its lens) and color_from_depth",
        )
    stated = "registered" in data and registered
    between = _between(data, source) if depth is not None else None
    return DepthCamera(colour, source, depth, between, registered=stated, units_per_metre=_scale(scale, source))


def _scale(value: Any, source: str) -> float:
    found = number(value, "depth_scale", source)
    if 0 < found < 0.1:
        raise CaptureError(
            f"{source}: depth_scale is {found:g}, which looks like metres per unit", f"write {1 / found:g}"
        )
    if found and not 0 < found < 1e7:
        raise CaptureError(
            f"{source}: depth_scale is {found:g}; expected units per metre", "1000 for millimetres, 5000 for TUM's data"
        )
    return found


def _between(data: dict[str, Any], source: str) -> np.ndarray:
    if "color_from_depth" in data:
        rig = entry(data, "color_from_depth", source)
        refuse_unknown(rig, ("R", "t_m"), f"{source}: color_from_depth")
        R, t = (
            matrix(entry(rig, "R", source), 3, "color_from_depth.R", source),
            numbers(entry(rig, "t_m", source), "t_m", source),
        )
    elif "extrinsics" in data:
        rig = entry(data, "extrinsics", source)
        R, t = (
            matrix(entry(rig, "rotation", source), 3, "rotation", source).T,
            numbers(entry(rig, "translation", source), "t", source),
        )
    else:
        raise CaptureError(
            f"{source} gives the depth sensor a lens, and does not say where it stands",
            'add "color_from_depth": {"R": [9], "t_m": [3]}',
        )
    if t.size != 3 or not np.all(np.isfinite(R)) or not np.all(np.isfinite(t)):
        raise CaptureError(
            f"{source}: the translation from depth to colour is {t.tolist()}", "write [tx, ty, tz] in metres"
        )
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
        raise CaptureError(f"{source}: R from depth to colour is no rotation", "store nine numbers row by row")
    if np.linalg.norm(t) > 0.5:
        raise CaptureError(f"{source}: depth and colour stand {np.linalg.norm(t):g} m apart", "lengths are metres")
    return rigid(R, t)


def _lens(data: Any, source: str) -> Lens:
    if not isinstance(data, dict):
        raise CaptureError(
            f"{source} is {str(data)[:40]!r}; expected a lens", 'write {"K": [9 numbers], "distortion": []}'
        )
    refuse_unknown(data, _LENS, source)
    if str(data.get("model", "")).lower().removeprefix("distortion.").replace(" ", "_") not in _PLAIN_MODELS:
        raise CaptureError(
            f"{source}: the distortion model {str(data['model'])[:40]!r} is not supported",
            "export pictures without distortion, or calibrate with OpenCV's coefficients",
        )
    if "K" in data:
        K = matrix(data["K"], 3, "K", source)
    else:
        fx, fy = (number(entry(data, k, source), k, source) for k in ("fx", "fy"))
        cx, cy = (
            number(data[a] if a in data else entry(data, b, source), a, source)
            for a, b in (("cx", "ppx"), ("cy", "ppy"))
        )
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    D = numbers(data.get("distortion", data.get("coeffs", [])), "distortion", source)
    size = data.get("image_size", data if "width" in data else None)
    size = None if size is None else picture_size(entry(size, "width", source), entry(size, "height", source), source)
    return Lens(Camera(K, D if D.any() else D[:0]), size)
