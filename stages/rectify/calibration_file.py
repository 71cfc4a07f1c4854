"""Finds out what kind of calibration file a capture has, and reads calibration.json; the other formats have a file each.

calibration.json, rectified: {"rectified": true, "image_size": {"width", "height"}, "K": [9], "baseline_m": b}
                  (optional "K_right" where cx differs: disparity at infinity is then K_right cx - K cx)
calibration.json, raw: {"rectified": false, "image_size", "left": {"K", "distortion"[, "model": "fisheye"]}, "right": {..},
                        "right_from_left": {"R": [9], "t_m": [3]}}
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.core import plain_files
from stages.core.errors import CaptureError
from stages.core.json_entries import entry, matrix, number, numbers, refuse_unknown
from stages.core.plain_yaml import native
from stages.core.stereo_calibration import Camera, StereoCalibration, parallel, picture_size, rigid

MOST_JSON = 1 << 25
"""bytes: frames_meta.json speaks of every picture"""


def read_calibration(
    files: tuple[Path, ...], unit_m: float = 1.0, size: Callable[[], tuple[int, int] | None] | None = None
) -> StereoCalibration:
    """The calibration as its file gives it, not yet checked (`check_calibration` does that once the picture size is known).

    unit_m: length of one unit of T in an OpenCV file, metres (such a file does not say). size: asked for (width, height) of the pictures
    where a file holds several resolutions. Raises CaptureError.
    """
    from stages.rectify import (
        calibration_colmap,
        calibration_mat,
        calibration_middlebury,
        calibration_nvidia,
        calibration_opencv,
        calibration_rig_config,
        calibration_zed,
    )

    path, suffix = files[0], files[0].suffix.lower()
    if len(files) == 2 and (pair := _ros_pair(files)) is not None:
        return pair
    if calibration_colmap.looks_like(files):
        return calibration_colmap.read(files, unit_m)
    if len(files) == 1 and path.name.lower() == "k.txt":
        return calibration_nvidia.read_K_txt(path)
    if len(files) == 1 and suffix == ".txt":
        return calibration_middlebury.read(path)
    if len(files) == 1 and suffix == ".mat":
        return calibration_mat.read(path)
    if len(files) == 1 and suffix == ".conf":
        return calibration_zed.read(path, size() if size else None)
    if len(files) == 1 and path.name == calibration_rig_config.NAME:
        return calibration_rig_config.read(plain_files.read_json(path), path.name, unit_m)
    if (
        len(files) == 1
        and suffix in (".json", ".edex")
        and not _is_opencv_json(data := plain_files.read_json(path, most=MOST_JSON))
    ):
        return _read_json_of_any_maker(data, path.name)
    if len(files) == 1 and suffix in (".yaml", ".yml"):
        return _read_yaml(path, unit_m)
    return calibration_opencv.read(files, unit_m)


def _read_json_of_any_maker(data: Any, source: str) -> StereoCalibration:
    from stages.rectify import calibration_cusfm, calibration_devices

    if maker := calibration_devices.kind_of(data):
        return calibration_devices.read(data, maker, source)
    return calibration_cusfm.read(data, source) if calibration_cusfm.looks_like(data) else read_json(data, source)


def _ros_pair(files: tuple[Path, ...]) -> StereoCalibration | None:
    """Of left.yaml + right.yaml, None where they are something else."""
    from stages.rectify import calibration_ros
    from stages.rectify.opencv_storage import yaml_root

    if any(f.suffix.lower() not in (".yaml", ".yml") for f in files) or files[0].stem.startswith("intrinsics"):
        return None
    left, right = (native(yaml_root(f)) for f in files)
    source = f"{files[0].name} + {files[1].name}"
    if not (calibration_ros.looks_like(left) and calibration_ros.looks_like(right)):
        raise CaptureError(
            f"{source} are not ROS camera_info of both cameras (camera_matrix, rectification_matrix, projection_matrix ..)",
            "see docs/capture.md for the calibration formats",
        )
    return calibration_ros.read(left, right, source)


def _read_yaml(path: Path, unit_m: float) -> StereoCalibration:
    from stages.rectify import calibration_kalibr, calibration_nvidia, calibration_opencv
    from stages.rectify.opencv_storage import yaml_root

    data = native(yaml_root(path))
    if "camera_config" in data:
        return calibration_nvidia.read(data, path.name)
    if calibration_kalibr.looks_like(data):
        return calibration_kalibr.read(data, path.name)
    if data.keys() >= {"camera_matrix", "projection_matrix"}:
        raise CaptureError(
            f"{path.name} is ROS camera_info of one camera; a pair needs both",
            "put both cameras' files there as left.yaml and right.yaml",
        )
    return calibration_opencv.read((path,), unit_m)


def _is_opencv_json(data: Any) -> bool:
    return isinstance(data, dict) and any(
        isinstance(v, dict) and v.get("type_id") == "opencv-matrix" for v in data.values()
    )


def read_json(data: Any, source: str) -> StereoCalibration:
    """The content of calibration.json. Raises CaptureError naming the missing, misshapen or unknown entry."""
    size = entry(data, "image_size", source)
    size = picture_size(entry(size, "width", source), entry(size, "height", source), source)
    if data.get("schema_version", 1) != 1:
        raise CaptureError(
            f"{source} has schema_version {str(data['schema_version'])[:40]}; this version reads 1",
            "update the program",
        )
    if not str(data.get("unit", "metre")).startswith("metre"):
        raise CaptureError(
            f"{source} is in the unit {str(data['unit'])[:40]!r}; expected metres and pixels", "convert the lengths"
        )
    rectified = entry(data, "rectified", source)
    if not isinstance(rectified, bool):
        raise CaptureError(
            f"{source}: rectified is {str(rectified)[:40]!r}; expected true or false", "correct the file"
        )
    if rectified:
        refuse_unknown(
            data, ("schema_version", "unit", "rectified", "image_size", "K", "K_right", "baseline_m"), source
        )
        K = matrix(entry(data, "K", source), 3, "K", source)
        K_right = matrix(data["K_right"], 3, "K_right", source) if "K_right" in data else K
        return parallel(
            K, K_right, number(entry(data, "baseline_m", source), "baseline_m", source), size, source=source
        )
    refuse_unknown(data, ("schema_version", "rectified", "image_size", "left", "right", "right_from_left"), source)
    rig = entry(data, "right_from_left", source)
    t = numbers(entry(rig, "t_m", source), "right_from_left.t_m", source)
    if t.size != 3:
        raise CaptureError(
            f"{source}: right_from_left.t_m has {t.size} numbers; expected 3", "write [tx, ty, tz] in metres"
        )
    refuse_unknown(rig, ("R", "t_m"), f"{source}: right_from_left")
    right_from_left = rigid(matrix(entry(rig, "R", source), 3, "right_from_left.R", source), t)
    return StereoCalibration(
        _camera(data, "left", source), _camera(data, "right", source), right_from_left, size, source=source
    )


def _camera(data: dict, side: str, source: str) -> Camera:
    eye = entry(data, side, source)
    K = matrix(entry(eye, "K", source), 3, f"{side}.K", source)
    refuse_unknown(eye, ("K", "distortion", "model"), f"{source}: {side}")
    model = eye.get("model", "pinhole")
    if model not in ("pinhole", "fisheye"):
        raise CaptureError(
            f"{source}: {side}.model is {str(model)[:40]!r}", "write pinhole or fisheye (OpenCV's: k1 k2 k3 k4)"
        )
    return Camera(K, numbers(eye.get("distortion", []), f"{side}.distortion", source), model == "fisheye")
