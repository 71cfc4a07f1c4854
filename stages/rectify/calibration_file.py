"""Finds out what kind of calibration file a capture has, and reads calibration.json; the other formats have a file each.

calibration.json, rectified: {"rectified": true, "image_size": {"width", "height"}, "K": [9], "baseline_m": b}
                  (optional "K_right" where cx differs: disparity at infinity is then K_right cx - K cx)
calibration.json, raw: {"rectified": false, "image_size", "left": {"K", "distortion"}, "right": {..},
                        "right_from_left": {"R": [9], "t_m": [3]}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.stereo_calibration import Camera, StereoCalibration, parallel, rigid


def read_calibration(files: tuple[Path, ...], unit_m: float = 1.0) -> StereoCalibration:
    """The calibration as its file gives it, not yet checked (`check_calibration` does that once the picture size is known).

    unit_m: length of one unit of T in an OpenCV file, metres (such a file does not say). Raises CaptureError.
    """
    from stages.rectify import calibration_middlebury, calibration_nvidia, calibration_opencv

    path = files[0]
    if len(files) > 1 or path.suffix.lower() == ".xml":
        return calibration_opencv.read(files, unit_m)
    if path.suffix.lower() == ".txt":
        return calibration_middlebury.read(path)
    if path.suffix.lower() == ".json":
        return read_json(path)
    if "camera_config" in _text(path):
        return calibration_nvidia.read(path)
    return calibration_opencv.read(files, unit_m)


def read_json(path: Path) -> StereoCalibration:
    """calibration.json. Raises CaptureError naming the missing or misshapen entry."""
    try:
        data = json.loads(_text(path))
    except ValueError as e:
        raise CaptureError(f"{path.name} is not valid JSON: {e}", "correct the file") from e
    size = entry(data, "image_size", path.name)
    size = (int(entry(size, "width", path.name)), int(entry(size, "height", path.name)))
    if entry(data, "rectified", path.name):
        K = matrix(entry(data, "K", path.name), 3, "K", path.name)
        K_right = matrix(data["K_right"], 3, "K_right", path.name) if "K_right" in data else K
        return parallel(K, K_right, number(entry(data, "baseline_m", path.name), "baseline_m", path.name), size, path.name)
    rig = entry(data, "right_from_left", path.name)
    t = numbers(entry(rig, "t_m", path.name), "right_from_left.t_m", path.name)
    if t.size != 3:
        raise CaptureError(f"{path.name}: right_from_left.t_m has {t.size} numbers; expected 3", "write [tx, ty, tz] in metres")
    right_from_left = rigid(matrix(entry(rig, "R", path.name), 3, "right_from_left.R", path.name), t)
    return StereoCalibration(_camera(data, "left", path.name), _camera(data, "right", path.name), right_from_left, size, path.name)


def _camera(data: dict, side: str, source: str) -> Camera:
    eye = entry(data, side, source)
    return Camera(matrix(entry(eye, "K", source), 3, f"{side}.K", source), numbers(eye.get("distortion", []), f"{side}.distortion", source))


def entry(data: Any, key: str, source: str) -> Any:
    """data[key], or a CaptureError that names it."""
    if not isinstance(data, dict) or key not in data:
        raise CaptureError(f"{source}: no entry {key!r}", "see docs/capture.md for the calibration formats")
    return data[key]


def number(value: Any, what: str, source: str) -> float:
    """One number, or a CaptureError."""
    return float(numbers([value], what, source)[0])


def numbers(value: Any, what: str, source: str) -> np.ndarray:
    """Flat float64 array (null counts as NaN), or a CaptureError."""
    try:
        return np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError) as e:
        raise CaptureError(f"{source}: {what} is {str(value)[:60]!r}; expected numbers", "correct the file") from e


def matrix(value: Any, side: int, what: str, source: str) -> np.ndarray:
    """(side, side) from a flat or nested list, row by row."""
    flat = numbers(value, what, source)
    if flat.size != side * side:
        raise CaptureError(f"{source}: {what} has {flat.size} numbers; expected {side * side}, row by row", "correct the file")
    return flat.reshape(side, side)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise CaptureError(f"cannot read {path.name}: {e}", "check that it is a readable text file") from e
