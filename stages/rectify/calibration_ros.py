"""ROS camera_info of both cameras, as the camera_calibration package writes it (left.yaml + right.yaml), or as messages of a bag.

Row by row: K `camera_matrix`, D, R `rectification_matrix`, P `projection_matrix`. A rectified point is R x, the right one lies P[3] / P[0]
further along x, so that right_from_left = R_right^T (R_left x + t). Lengths are metres.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.json_entries import entry, matrix, numbers
from stages.core.stereo_calibration import Camera, StereoCalibration, picture_size, rigid

MODELS = {
    "plumb_bob": False,
    "rational_polynomial": False,
    "radtan": False,
    "": False,
    "none": False,
    "equidistant": True,
    "fisheye": True,
}
"""distortion model: is it a fisheye"""
_PAIR = "calibrate both cameras together (camera_calibration with two cameras), so that the right projection_matrix holds the baseline"


def looks_like(data: Any) -> bool:
    """Whether a YAML mapping is one camera's camera_info."""
    return isinstance(data, dict) and {"camera_matrix", "projection_matrix"} <= data.keys() and "image_width" in data


def read(
    left: dict[str, Any], right: dict[str, Any], source: str, kind: str = "ROS camera_info of both cameras"
) -> StereoCalibration:
    """Raises CaptureError."""
    cameras = [_camera(d, f"{source}: {side}") for side, d in (("left", left), ("right", right))]
    sizes = [
        picture_size(entry(d, "image_width", source), entry(d, "image_height", source), source) for d in (left, right)
    ]
    if sizes[0] != sizes[1]:
        raise CaptureError(
            f"{source}: the two cameras have pictures of different sizes {sizes}", "calibrate at one size"
        )
    R_left, R_right = (
        matrix(_data(d, "rectification_matrix", source), 3, "rectification_matrix", source) for d in (left, right)
    )
    P = numbers(_data(right, "projection_matrix", source), "projection_matrix", source)
    if P.size != 12 or P[0] == 0:
        raise CaptureError(
            f"{source}: the right projection_matrix has {P.size} numbers; expected 12", "restore the file"
        )
    if P[3] == 0:
        raise CaptureError(
            f"{source}: the right projection_matrix says nothing of the baseline (its fourth number is 0)", _PAIR
        )
    right_from_left = rigid(R_right.T @ R_left, R_right.T @ np.array([P[3] / P[0], 0.0, 0.0]))
    return StereoCalibration(*cameras, right_from_left, sizes[0], source, kind)


def _camera(data: dict[str, Any], source: str) -> Camera:
    model = str(data.get("distortion_model", ""))
    if model not in MODELS:
        raise CaptureError(
            f"{source} has the distortion model {model[:40]!r}; read are {', '.join(k for k in MODELS if k)}",
            "calibrate with plumb_bob, rational_polynomial or equidistant",
        )
    D = numbers(_data(data, "distortion_coefficients", source), "distortion_coefficients", source)
    K, fisheye = matrix(_data(data, "camera_matrix", source), 3, "camera_matrix", source), MODELS[model]
    return Camera(K, D if D.any() or fisheye else D[:0], fisheye)


def _data(data: dict[str, Any], key: str, source: str) -> Any:
    value = entry(data, key, source)
    return entry(value, "data", f"{source}: {key}") if isinstance(value, dict) else value
