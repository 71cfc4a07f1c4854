"""Kalibr's camchain.yaml of two cameras: cam0 is the left one, T_cn_cnm1 of cam1 is right_from_left in metres.

Read are pinhole cameras with radtan (OpenCV's k1 k2 p1 p2), equidistant (a fisheye: k1 k2 k3 k4) or no distortion; other models are
refused by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.json_entries import entry, matrix, numbers
from stages.core.stereo_calibration import Camera, StereoCalibration, picture_size

_CONVERT = "calibrate with --models pinhole-radtan or pinhole-equi for both, or write OpenCV's M1 D1 M2 D2 R T of a pinhole calibration"


def looks_like(data: dict[str, Any]) -> bool:
    """Whether a YAML mapping is a camchain."""
    return isinstance(data.get("cam0"), dict) and "intrinsics" in data["cam0"]


def read(data: dict[str, Any], source: str) -> StereoCalibration:
    """Raises CaptureError."""
    cameras = [k for k in data if k.startswith("cam")]
    if cameras != ["cam0", "cam1"]:
        raise CaptureError(
            f"{source} is a Kalibr file with the cameras {', '.join(cameras)}; expected cam0 and cam1",
            "keep the left camera as cam0 and the right one as cam1",
        )
    left, right = (_camera(data[name], f"{source}: {name}") for name in cameras)
    T = entry(data["cam1"], "T_cn_cnm1", f"{source}: cam1")
    sizes = {
        picture_size(*_pair(entry(data[name], "resolution", f"{source}: {name}")), f"{source}: {name}")
        for name in cameras
    }
    if len(sizes) != 1:
        raise CaptureError(
            f"{source}: the two cameras have pictures of different sizes {sorted(sizes)}", "calibrate at one size"
        )
    right_from_left = matrix(T, 4, "T_cn_cnm1", source)
    if not np.allclose(right_from_left[3], [0, 0, 0, 1]):
        raise CaptureError(f"{source}: the last row of T_cn_cnm1 is not 0 0 0 1", "store it row by row")
    return StereoCalibration(left, right, right_from_left, sizes.pop(), source=source, kind="Kalibr camchain")


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else (value, None)


def _camera(data: Any, source: str) -> Camera:
    model, lens = entry(data, "camera_model", source), str(data.get("distortion_model", "none"))
    if model != "pinhole" or lens not in ("radtan", "equidistant", "none"):
        raise CaptureError(
            f"{source} is a Kalibr camera of model {str(model)[:40]}-{lens[:40]}, which is not supported", _CONVERT
        )
    values = numbers(entry(data, "intrinsics", source), "intrinsics", source)
    coefficients = numbers(data.get("distortion_coeffs", []), "distortion_coeffs", source)
    if values.size != 4 or coefficients.size not in (0, 4):
        found = f"{values.size} intrinsics and {coefficients.size} distortion coefficients"
        raise CaptureError(f"{source}: {found}; expected 4 and 4", _CONVERT)
    fx, fy, cx, cy = values
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), coefficients, lens == "equidistant")
