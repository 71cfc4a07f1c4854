"""Calibrations in JSON as the makers of depth cameras and MATLAB write them.

DepthAI (OAK): the EEPROM as JSON. `extrinsics` of a camera lead to the camera on `toCameraSocket`, translation in centimetres.
RealSense: {"left": intrinsics, "right": intrinsics, "extrinsics": {"rotation", "translation"}} with librealsense's names; its rotation is
column by column, translation metres, from left to right. infra1 and infra2 (or "infrared 1", ..) are other names for left and right.
MATLAB: jsonencode(toStruct(stereoParams)). Its pixels count from 1, its older matrices are transposed, its unit is `WorldUnits`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.core.errors import CaptureError
from stages.core.json_entries import entry, matrix, number, numbers
from stages.core.stereo_calibration import UNITS_M, Camera, StereoCalibration, picture_size, rigid

_EYES = (("left", "right"), ("infra1", "infra2"), ("infrared1", "infrared2"), ("infrared 1", "infrared 2"))
_PLAIN = ("none", "brown_conrady", "modified_brown_conrady", "inverse_brown_conrady")
_UNIT_NAMES = {"millimeters": "mm", "centimeters": "cm", "meters": "m", "inches": "inch", "in": "inch"}


def kind_of(data: Any) -> str:
    """ "depthai", "realsense", "matlab", or "" for none of them."""
    if not isinstance(data, dict):
        return ""
    if "cameraData" in data and "stereoRectificationData" in data:
        return "depthai"
    if "CameraParameters1" in data:
        return "matlab"
    return "realsense" if any(isinstance(data.get(a), dict) and "ppx" in data[a] for a, _ in _EYES) else ""


def read(data: dict[str, Any], kind: str, source: str) -> StereoCalibration:
    """Raises CaptureError."""
    return {"depthai": _depthai, "realsense": _realsense, "matlab": _matlab}[kind](data, source)


def _depthai(data: dict[str, Any], source: str) -> StereoCalibration:
    cameras = {}
    for item in data["cameraData"] if isinstance(data["cameraData"], list) else ():
        if isinstance(item, list) and len(item) == 2 and isinstance(item[0], int) and isinstance(item[1], dict):
            cameras[item[0]] = item[1]
    eyes = [entry(data["stereoRectificationData"], f"{side}CameraSocket", source) for side in ("left", "right")]
    for side, socket in zip(("left", "right"), eyes, strict=True):
        if not isinstance(socket, int) or socket not in cameras:
            raise CaptureError(
                f"{source}: the {side} camera is on socket {str(socket)[:40]}, of which cameraData says nothing",
                "export the EEPROM of the camera again",
            )
    left, right = (cameras[s] for s in eyes)
    sizes = [picture_size(entry(c, "width", source), entry(c, "height", source), source) for c in (left, right)]
    if sizes[0] != sizes[1]:
        raise CaptureError(
            f"{source}: the two cameras have pictures of different sizes {sizes}", "calibrate at one size"
        )
    right_from_left = _inverse(_to_root(eyes[1], cameras, source)) @ _to_root(eyes[0], cameras, source)
    made = [_depthai_camera(c, source) for c in (left, right)]
    return StereoCalibration(*made, right_from_left, sizes[0], source, "DepthAI calibration of an OAK camera")


def _depthai_camera(data: dict[str, Any], source: str) -> Camera:
    fisheye = data.get("cameraType", 0) == 1
    D = numbers(data.get("distortionCoeff", []), "distortionCoeff", source)
    return Camera(
        matrix(entry(data, "intrinsicMatrix", source), 3, "intrinsicMatrix", source), D[:4] if fisheye else D, fisheye
    )


def _to_root(socket: int, cameras: dict[int, dict[str, Any]], source: str) -> np.ndarray:
    """(4, 4) from a camera to the one at the end of its chain of extrinsics."""
    out, seen = np.eye(4), set()
    while socket in cameras and socket not in seen:
        seen.add(socket)
        step = cameras[socket].get("extrinsics")
        after = step.get("toCameraSocket", -1) if isinstance(step, dict) else -1
        if not isinstance(after, int) or after not in cameras:
            break
        t = entry(step, "translation", source)
        cm = [number(entry(t, axis, source), f"translation.{axis}", source) for axis in "xyz"]
        out = (
            rigid(matrix(entry(step, "rotationMatrix", source), 3, "rotationMatrix", source), 0.01 * np.array(cm)) @ out
        )
        socket = after
    return out


def _inverse(b_from_a: np.ndarray) -> np.ndarray:
    R = b_from_a[:3, :3].T
    return rigid(R, -R @ b_from_a[:3, 3])


def _realsense(data: dict[str, Any], source: str) -> StereoCalibration:
    names = next((a, b) for a, b in _EYES if isinstance(data.get(a), dict) and "ppx" in data[a])
    eyes = [entry(data, n, source) for n in names]
    sizes = [picture_size(entry(e, "width", source), entry(e, "height", source), source) for e in eyes]
    if sizes[0] != sizes[1]:
        raise CaptureError(
            f"{source}: the two cameras have pictures of different sizes {sizes}", "record both at one size"
        )
    between = entry(data, "extrinsics", source)
    R = matrix(entry(between, "rotation", source), 3, "rotation", source).T
    t = numbers(entry(between, "translation", source), "translation", source)
    if t.size != 3:
        raise CaptureError(f"{source}: translation has {t.size} numbers; expected 3", "write [tx, ty, tz] in metres")
    left, right = (_realsense_camera(e, source) for e in eyes)
    return StereoCalibration(
        left, right, rigid(R, t), sizes[0], source=source, kind="RealSense intrinsics and extrinsics"
    )


def _realsense_camera(data: dict[str, Any], source: str) -> Camera:
    fx, fy, cx, cy = (number(entry(data, k, source), k, source) for k in ("fx", "fy", "ppx", "ppy"))
    D = numbers(data.get("coeffs", []), "coeffs", source)
    model = str(data.get("model", "none")).lower().removeprefix("distortion.").replace(" ", "_")
    fisheye = model == "kannala_brandt4"
    if not fisheye and (model not in _PLAIN or (model == "inverse_brown_conrady" and D.any())):
        raise CaptureError(
            f"{source}: the distortion model {model[:40]!r} is not supported", "record the infrared pair"
        )
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if fisheye:
        return Camera(K, D[:4], True)
    return Camera(K, D if D.any() else D[:0])


def _matlab(data: dict[str, Any], source: str) -> StereoCalibration:
    eyes = [entry(data, f"CameraParameters{k}", source) for k in (1, 2)]
    sizes = {_matlab_size(e, source) for e in eyes} - {None}
    if len(sizes) > 1:
        raise CaptureError(
            f"{source}: the two cameras have pictures of different sizes {sorted(sizes)}", "calibrate at one size"
        )
    unit = str(data.get("WorldUnits", eyes[0].get("WorldUnits", "mm") if isinstance(eyes[0], dict) else "mm"))
    unit = _UNIT_NAMES.get(unit, unit)
    if unit not in UNITS_M:
        raise CaptureError(f"{source}: WorldUnits is {unit[:40]!r}; expected one of {', '.join(UNITS_M)}", "correct it")
    if isinstance(pose := data.get("PoseCamera2"), dict):
        R = matrix(entry(pose, "R", source), 3, "PoseCamera2.R", source)
        t = numbers(entry(pose, "Translation", source), "PoseCamera2.Translation", source)
    else:  # x2 = x1 R + t with rows for points
        R = matrix(entry(data, "RotationOfCamera2", source), 3, "RotationOfCamera2", source).T
        t = numbers(entry(data, "TranslationOfCamera2", source), "TranslationOfCamera2", source)
    if t.size != 3:
        raise CaptureError(
            f"{source}: the translation of camera 2 has {t.size} numbers; expected 3", "export stereoParams again"
        )
    size = sizes.pop() if sizes else None
    left, right = (_matlab_camera(e, source) for e in eyes)
    return StereoCalibration(
        left, right, rigid(R, t * UNITS_M[unit]), size, source=source, kind="MATLAB stereoParameters"
    )


def _matlab_size(eye: Any, source: str) -> tuple[int, int] | None:
    found = eye.get("ImageSize") if isinstance(eye, dict) else None
    return picture_size(found[1], found[0], source) if isinstance(found, list) and len(found) == 2 else None


def _matlab_camera(data: Any, source: str) -> Camera:
    if isinstance(data, dict) and "K" in data:
        K = matrix(data["K"], 3, "K", source)
    else:
        K = matrix(entry(data, "IntrinsicMatrix", source), 3, "IntrinsicMatrix", source).T
    radial = numbers(data.get("RadialDistortion", [0, 0]), "RadialDistortion", source)
    tangential = numbers(data.get("TangentialDistortion", [0, 0]), "TangentialDistortion", source)
    if radial.size not in (2, 3) or tangential.size != 2:
        raise CaptureError(
            f"{source}: {radial.size} radial and {tangential.size} tangential coefficients; expected 2 or 3, and 2",
            "calibrate with the standard model",
        )
    return Camera(K - np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]]), np.r_[radial[:2], tangential, radial[2:]])
