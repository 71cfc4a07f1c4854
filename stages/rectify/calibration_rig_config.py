"""rig_config.json, from which COLMAP (3.12 on) learns which cameras form a rig: with lenses and places given it is a calibration.

    [{"cameras": [{"image_prefix": "left/", "ref_sensor": true, "camera_model_name": "OPENCV", "camera_params": [..]},
                  {"image_prefix": "right/", "cam_from_rig_rotation": [w, x, y, z], "cam_from_rig_translation": [x, y, z], ..}]}]

COLMAP lets lenses and places out where they shall be found; here both are needed. The unit of length is not said, nor the picture size.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np

from stages.core.colmap_files import COUNTS, intrinsics
from stages.core.colmap_rigs import matrix_of
from stages.core.errors import CaptureError
from stages.core.geometry.rigid import inverse
from stages.core.json_entries import entry, numbers, refuse_unknown
from stages.core.stereo_calibration import Camera, StereoCalibration

NAME = "rig_config.json"
KNOWN = (
    "image_prefix",
    "ref_sensor",
    "camera_model_name",
    "camera_params",
    "cam_from_rig_rotation",
    "cam_from_rig_translation",
)
_ADVICE = "a stereo rig is one rig of two cameras with the prefixes left/ and right/; or write calibration.json"
_OLD = "write it as COLMAP 3.12 and later take it: a list of rigs with ref_sensor, cam_from_rig_rotation and cam_from_rig_translation"


def read(data: Any, source: str, unit_m: float) -> StereoCalibration:
    """`unit_m`: length of its unit in metres. Raises CaptureError by rig and camera."""
    cameras = _rig(data, source)
    poses = [_pose(c, f"{source}, camera {_prefix(c)!r}") for c in cameras]
    left, right = _sides(cameras, poses, source)
    right_from_left = poses[right] @ inverse(poses[left])
    right_from_left[:3, 3] *= unit_m
    lenses = [_lens(cameras[k], f"{source}, camera {_prefix(cameras[k])!r}") for k in (left, right)]
    return StereoCalibration(
        *lenses, right_from_left, None, source, "COLMAP rig", _unit_note(source, right_from_left, unit_m)
    )


def _unit_note(source: str, right_from_left: np.ndarray, unit_m: float) -> str:
    if unit_m != 1.0:
        return ""
    baseline = 1e3 * float(np.linalg.norm(right_from_left[:3, 3]))
    return (
        f"{source} holds lengths without a unit; one is taken as 1 m, which makes the baseline {baseline:.1f} mm: "
        "measure it, or set rectify.calibration_unit"
    )


def _rig(data: Any, source: str) -> list[dict]:
    """The two cameras of the one rig, each a mapping with known entries."""
    if isinstance(data, dict) and "ref_camera_id" in data:
        raise CaptureError(f"{source} has ref_camera_id, as before COLMAP 3.12", _OLD)
    if not isinstance(data, list) or not all(isinstance(r, dict) and isinstance(r.get("cameras"), list) for r in data):
        raise CaptureError(f'{source} is no list of rigs, each with "cameras"', _ADVICE)
    rigs = [r["cameras"] for r in data]
    if len(rigs) != 1 or len(rigs[0]) != 2 or not all(isinstance(c, dict) for c in rigs[0]):
        raise CaptureError(
            f"{source} holds {len(rigs)} rigs of {[len(r) for r in rigs[:5]]} cameras; expected one of two", _ADVICE
        )
    refuse_unknown(data[0], ("cameras",), source)
    for c in rigs[0]:
        refuse_unknown(c, KNOWN, f"{source}, camera {_prefix(c)!r}")
        if not isinstance(c.get("ref_sensor", False), bool):
            raise CaptureError(f"{source}: ref_sensor is {str(c['ref_sensor'])[:40]!r}", "write true or false")
    if sum(bool(c.get("ref_sensor")) for c in rigs[0]) != 1:
        raise CaptureError(
            f"{source}: not exactly one of the cameras has ref_sensor true", "mark the one that is the rig's own frame"
        )
    return rigs[0]


def _prefix(camera: dict) -> str:
    return str(camera.get("image_prefix", ""))[:60]


def _pose(camera: dict, where: str) -> np.ndarray:
    """(4, 4) camera_from_rig."""
    keys = ("cam_from_rig_rotation", "cam_from_rig_translation")
    if camera.get("ref_sensor"):
        if given := [k for k in keys if k in camera]:
            raise CaptureError(
                f"{where} is the reference and has {given[0]}", "leave it out: the reference is the rig's own frame"
            )
        return np.eye(4)
    if lacking := [k for k in keys if k not in camera]:
        raise CaptureError(
            f"{where} has no {lacking[0]}: COLMAP would find it, here it has to be given",
            "give the refined model (sparse/0/) or the place, or write calibration.json",
        )
    parts = [numbers(camera[k], k, where) for k in keys]
    if [len(p) for p in parts] != [4, 3]:
        raise CaptureError(
            f"{where}: {len(parts[0])} numbers of rotation and {len(parts[1])} of translation",
            "expected [w, x, y, z] and [x, y, z]",
        )
    return matrix_of(np.concatenate(parts), where)


def _lens(camera: dict, where: str) -> Camera:
    """Pixel centres are at integers here, at halves in COLMAP."""
    if "camera_params" not in camera or "camera_model_name" not in camera:
        raise CaptureError(
            f"{where} has no camera_model_name and camera_params: COLMAP would find the lens, here it has to be given",
            "give the refined model (sparse/0/) or the lens, or write calibration.json",
        )
    model, values = camera["camera_model_name"], numbers(entry(camera, "camera_params", where), "camera_params", where)
    if not isinstance(model, str) or model not in COUNTS:
        raise CaptureError(
            f"{where}: model {str(model)[:40]!r}", f"undistort the pictures first; read are {', '.join(COUNTS)}"
        )
    if len(values) != COUNTS[model]:
        raise CaptureError(f"{where}: {len(values)} camera_params", f"{model} has {COUNTS[model]}")
    K, lens, distortion = intrinsics(model, tuple(values.tolist()), where)
    K[:2, 2] -= 0.5
    return Camera(K, np.array(distortion, float), lens == "fisheye")


def _sides(cameras: list[dict], poses: list[np.ndarray], source: str) -> tuple[int, int]:
    """Which is the left one and which the right one: by the folder in the prefix, else by where they stand."""
    named = [[s for s in ("left", "right") if s in PurePosixPath(_prefix(c)).parts] for c in cameras]
    if any(named):
        if sorted(map(tuple, named)) != [("left",), ("right",)]:
            raise CaptureError(
                f"{source}: the prefixes {[_prefix(c) for c in cameras]} do not name one left and one right camera",
                _ADVICE,
            )
        return (0, 1) if named[0] == ["left"] else (1, 0)
    across = (poses[1] @ inverse(poses[0]))[0, 3]
    return (1, 0) if across > 0 else (0, 1)  # what stands on the right has its origin on the left
