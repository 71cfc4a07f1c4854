"""Cameras of NVIDIA's visual mapping tools: frames_meta.json of cuSFM, and stereo.edex of cuVSLAM.

frames_meta.json: `stereo_pair` names the two cameras; `calibration_parameters` hold camera_matrix and distortion, or only the
projection_matrix of rectified pictures; `sensor_to_vehicle_transform` is vehicle_from_sensor (axis and degrees, metres). stereo.edex:
`cameras` with focal, principal, distortion_model and `transform` (3 x 4, rig_from_camera). Axes are OpenCV's.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.json_entries import entry, matrix, number, numbers
from stages.core.stereo_calibration import Camera, StereoCalibration, picture_size, rigid

_EDEX_MODELS = {"pinhole": False, "brown5k": False, "polynomial": False, "fisheye4": True, "fisheye": True}


def looks_like(data: Any) -> bool:
    """Whether it is one of the two."""
    meta = isinstance(data, dict) and "camera_params_id_to_camera_params" in data
    return meta or (isinstance(data, list) and bool(data) and isinstance(data[0], dict) and "cameras" in data[0])


def read(data: Any, source: str) -> StereoCalibration:
    """Raises CaptureError."""
    return _edex(data[0], source) if isinstance(data, list) else _frames_meta(data, source)


def pair_ids(data: dict[str, Any], source: str) -> tuple[str, str]:
    """Names of the left and the right camera of a frames_meta.json."""
    pairs = entry(data, "stereo_pair", source)
    if not isinstance(pairs, list) or len(pairs) != 1:
        count = len(pairs) if isinstance(pairs, list) else "no"
        raise CaptureError(f"{source} names {count} stereo pairs; expected one", "keep one of them")
    return tuple(str(entry(pairs[0], f"{side}_camera_param_id", source)) for side in ("left", "right"))  # type: ignore[return-value]


def _frames_meta(data: dict[str, Any], source: str) -> StereoCalibration:
    cameras = data["camera_params_id_to_camera_params"]
    eyes = [entry(cameras, name, source) for name in pair_ids(data, source)]
    values = [entry(e, "calibration_parameters", source) for e in eyes]
    sizes = [picture_size(entry(v, "image_width", source), entry(v, "image_height", source), source) for v in values]
    rig = [_vehicle_from_sensor(entry(e, "sensor_meta_data", source), source) for e in eyes]
    right_from_left = np.linalg.inv(rig[1]) @ rig[0]
    made = [_meta_camera(v, source) for v in values]
    stated = data["stereo_pair"][0].get("baseline_meters")
    _check_stated(stated, float(np.linalg.norm(right_from_left[:3, 3])), source)
    return _made(made, right_from_left, sizes, source, kind="frames_meta.json of cuSFM")


def _check_stated(stated: Any, found: float, source: str) -> None:
    if stated is not None and abs(number(stated, "baseline_meters", source) - found) > 0.01 * max(found, 1e-3):
        raise CaptureError(
            f"{source}: baseline_meters is {stated}, but the sensors are {found:.4f} m apart", "correct one of them"
        )


def _vehicle_from_sensor(meta: Any, source: str) -> np.ndarray:
    transform = entry(meta, "sensor_to_vehicle_transform", source)
    axis, t = entry(transform, "axis_angle", source), entry(transform, "translation", source)
    xyz = [number(axis.get(k, 0.0) if isinstance(axis, dict) else axis, f"axis_angle.{k}", source) for k in "xyz"]
    angle = number(entry(axis, "angle_degrees", source), "angle_degrees", source)
    length = float(np.linalg.norm(xyz))
    turn = np.radians(angle) * np.array(xyz) / length if length > 0 else np.zeros(3)
    place = [number(t.get(k, 0.0) if isinstance(t, dict) else t, f"translation.{k}", source) for k in "xyz"]
    if not np.all(np.isfinite([*turn, *place])):
        raise CaptureError(f"{source}: a sensor_to_vehicle_transform holds numbers that are none", "restore the file")
    return rigid(cv2.Rodrigues(turn)[0], np.array(place))


def _meta_camera(values: dict[str, Any], source: str) -> Camera:
    if "camera_matrix" in values:
        D = numbers(
            entry(values.get("distortion_coefficients", {"data": []}), "data", source),
            "distortion_coefficients",
            source,
        )
        return Camera(
            matrix(entry(values["camera_matrix"], "data", source), 3, "camera_matrix", source), D if D.any() else D[:0]
        )
    P = numbers(entry(entry(values, "projection_matrix", source), "data", source), "projection_matrix", source)
    if P.size != 12:
        raise CaptureError(f"{source}: projection_matrix has {P.size} numbers; expected 12", "restore the file")
    return Camera(P.reshape(3, 4)[:, :3])


def _edex(data: dict[str, Any], source: str) -> StereoCalibration:
    cameras = data["cameras"]
    if not isinstance(cameras, list) or len(cameras) != 2:
        raise CaptureError(
            f"{source} has {len(cameras) if isinstance(cameras, list) else 'no'} cameras; expected two, left and right",
            "keep the stereo pair only",
        )
    inner = [entry(c, "intrinsics", source) for c in cameras]
    sizes = []
    for i in inner:
        size = entry(i, "size", source)
        sizes.append(picture_size(*(size if isinstance(size, list) and len(size) == 2 else (size, None)), source))
    rig = []
    for c in cameras:
        T = numbers(entry(c, "transform", source), "transform", source)
        if (
            T.size not in (12, 16)
            or not np.all(np.isfinite(T))
            or abs(np.linalg.det(T[:12].reshape(3, 4)[:, :3])) < 0.5
        ):
            raise CaptureError(
                f"{source}: a transform is no 3 x 4 of a rotation and a shift", "store rig_from_camera row by row"
            )
        rig.append(np.vstack([T[:12].reshape(3, 4), [0, 0, 0, 1]]))
    return _made(
        [_edex_camera(i, source) for i in inner],
        np.linalg.inv(rig[1]) @ rig[0],
        sizes,
        source,
        kind="stereo.edex of cuVSLAM",
    )


def _edex_camera(data: Any, source: str) -> Camera:
    focal, centre = (numbers(entry(data, k, source), k, source) for k in ("focal", "principal"))
    if focal.size != 2 or centre.size != 2:
        raise CaptureError(
            f"{source}: focal and principal have {focal.size} and {centre.size} numbers; expected 2", "correct the file"
        )
    model = str(data.get("distortion_model", "pinhole"))
    D = numbers(data.get("distortion_params", []), "distortion_params", source)
    if model not in _EDEX_MODELS:
        raise CaptureError(
            f"{source}: the distortion model {model[:40]!r} is not supported", f"read are {', '.join(_EDEX_MODELS)}"
        )
    if model == "brown5k" and D.size == 5:  # k1 k2 k3 p1 p2 there
        D = D[[0, 1, 3, 4, 2]]
    K = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
    fisheye = _EDEX_MODELS[model]
    return Camera(K, D if D.any() or fisheye else D[:0], fisheye)


def _made(
    cameras: list[Camera], right_from_left: np.ndarray, sizes: list[tuple[int, int]], source: str, kind: str
) -> StereoCalibration:
    if sizes[0] != sizes[1]:
        raise CaptureError(
            f"{source}: the two cameras have pictures of different sizes {sizes}", "calibrate at one size"
        )
    return StereoCalibration(*cameras, right_from_left, sizes[0], source, kind)
