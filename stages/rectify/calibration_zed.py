"""Stereolabs' SN<serial>.conf: the factory calibration of a ZED camera for its *unrectified* pictures, one section per eye and resolution.

Baseline, TY and TZ are millimetres; the rotation vector of the right camera is RX_, CV_, RZ_ of the resolution (radians). The size of the
pictures tells which sections hold. The pictures that the ZED SDK gives as rectified need the SDK's own rectified numbers instead.
"""

from __future__ import annotations

import configparser
from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.json_entries import number
from stages.core.plain_files import read_text
from stages.core.plain_yaml import scalar
from stages.core.stereo_calibration import Camera, StereoCalibration, rigid

RESOLUTIONS = {
    (2208, 1242): "2K",
    (1920, 1080): "FHD",
    (1920, 1200): "FHD1200",
    (1280, 720): "HD",
    (960, 600): "SVGA",
    (672, 376): "VGA",
}
_BROWN = ("k1", "k2", "p1", "p2", "k3")


def read(path: Path, size: tuple[int, int] | None) -> StereoCalibration:
    """`size`: (width, height) of one picture of the capture. Raises CaptureError."""
    text = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        text.read_string(read_text(path))
    except configparser.Error as e:
        raise CaptureError(
            f"{path.name} is no configuration file: {str(e).splitlines()[0][:200]}", "download it for this camera"
        ) from e
    if "STEREO" not in text:
        raise CaptureError(
            f"{path.name} has no section [STEREO]: it is not the calibration of a ZED camera", "see docs/capture.md"
        )
    if size not in RESOLUTIONS:
        there, found = ", ".join(f"{w}x{h}" for w, h in RESOLUTIONS), f"{size[0]}x{size[1]}" if size else "unknown"
        raise CaptureError(
            f"{path.name} is for ZED pictures of {there} px; the capture has {found} px",
            "export the pictures at the camera's own resolution, unrectified",
        )
    name = RESOLUTIONS[size]
    stereo = _Section(text, "STEREO", path.name)
    turn = np.array([stereo.of(f"RX_{name}"), stereo.of(f"CV_{name}"), stereo.of(f"RZ_{name}")])
    t = -1e-3 * np.array([stereo.of("Baseline"), stereo.of(f"TY_{name}", "TY"), stereo.of(f"TZ_{name}", "TZ")])
    eyes = [
        _camera(_Section(text, f"{side}_CAM_{name}", path.name), text, side, path.name) for side in ("LEFT", "RIGHT")
    ]
    return StereoCalibration(
        *eyes, rigid(cv2.Rodrigues(turn)[0], t), size, path.name, "factory calibration of a ZED camera"
    )


class _Section:
    def __init__(self, text: configparser.ConfigParser, name: str, source: str) -> None:
        if name not in text:
            raise CaptureError(
                f"{source} has no section [{name}]", "export the pictures at a resolution that the file knows"
            )
        self.values, self.where = text[name], f"{source}: [{name}]"

    def of(self, key: str, other: str = "") -> float:
        """The number under `key`, or under `other`."""
        value = self.values.get(key, self.values.get(other) if other else None)
        if value is None:
            raise CaptureError(f"{self.where} has no entry {key}", "download the file again for this camera")
        return number(scalar(value.strip()), key, self.where)


def _camera(section: _Section, text: configparser.ConfigParser, side: str, source: str) -> Camera:
    K = np.array([[section.of("fx"), 0, section.of("cx")], [0, section.of("fy"), section.of("cy")], [0, 0, 1]])
    if f"{side}_DISTO" in text:  # newer files: the rational model, for all resolutions
        lens = _Section(text, f"{side}_DISTO", source)
        D = np.array([lens.of(k) for k in (*_BROWN, "k4", "k5", "k6")])
    else:
        D = np.array([section.of(k) for k in _BROWN])
    return Camera(K, D)
