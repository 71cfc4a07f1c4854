"""Middlebury 2014 calib.txt: cam0, cam1 (K in px), doffs (cx of cam1 minus cx of cam0, px), baseline in mm, width, height.

Depth there is baseline * f / (disparity + doffs); `rectify` shifts the right picture by doffs, so that disparity is 0 at infinity.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.json_entries import matrix, number
from stages.core.plain_files import read_text
from stages.core.plain_yaml import scalar
from stages.core.stereo_calibration import StereoCalibration, parallel, picture_size


def read(path: Path) -> StereoCalibration:
    """Raises CaptureError naming the missing line."""
    lines = {k.strip(): v.strip() for k, _, v in (line.partition("=") for line in read_text(path).splitlines()) if v}
    K = [_camera(lines, name, path.name) for name in ("cam0", "cam1")]
    _check_offset(lines, K, path.name)
    size = (
        picture_size(scalar(lines["width"]), scalar(lines["height"]), path.name)
        if lines.keys() >= {"width", "height"}
        else None
    )
    return parallel(
        K[0], K[1], number(_line(lines, "baseline", path.name), "baseline", path.name) / 1000.0, size, source=path.name
    )


def _line(lines: dict[str, str], key: str, source: str) -> str:
    if key not in lines:
        raise CaptureError(
            f"{source}: no line {key}=", "a Middlebury calib.txt has cam0, cam1, doffs, baseline (mm), width and height"
        )
    return lines[key]


def _camera(lines: dict[str, str], key: str, source: str) -> np.ndarray:
    return matrix(re.findall(r"[^\s\[\];,]+", _line(lines, key, source)), 3, key, source)


def _check_offset(lines: dict[str, str], K: list[np.ndarray], source: str) -> None:
    between = K[1][0, 2] - K[0][0, 2]
    given = number(lines.get("doffs", between), "doffs", source)
    if not abs(given - between) <= 0.01:
        raise CaptureError(
            f"{source}: doffs is {given:g} px but cam1 and cam0 differ by {between:g} px in cx",
            "correct doffs or the camera matrices",
        )
