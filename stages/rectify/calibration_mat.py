"""MATLAB's .mat files with stereoParams as a structure: s = toStruct(stereoParams); save('stereoParams.mat', 's', '-v7').

An object of class stereoParameters saved as it is has a form that only MATLAB reads; version 7.3 is another file format. Both are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core.errors import CaptureError
from stages.core.plain_files import read_bytes
from stages.core.stereo_calibration import StereoCalibration
from stages.rectify import calibration_devices
from stages.rectify.mat_file import MatError, read_mat

MOST_BYTES = 1 << 24
_AS_STRUCT = "in MATLAB: s = toStruct(stereoParams); save('stereoParams.mat', 's', '-v7')"


def read(path: Path) -> StereoCalibration:
    """Raises CaptureError."""
    return calibration_devices.read(_structure(read_bytes(path, most=MOST_BYTES), path.name), "matlab", path.name)


def _structure(data: bytes, source: str) -> dict[str, Any]:
    """The one variable that is stereoParams as a structure."""
    if data.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise CaptureError(f"{source} is a MAT-file of version 7.3", f"save it as version 7; {_AS_STRUCT}")
    if not data.startswith(b"MATLAB 5.0"):
        raise CaptureError(f"{source} is no MAT-file of version 5 to 7", _AS_STRUCT)
    try:
        found = read_mat(data)
    except MatError as e:
        raise CaptureError(f"{source} cannot be read: {e}", f"restore it; {_AS_STRUCT}") from e
    structures = [v for v in found.values() if isinstance(v, dict) and "CameraParameters1" in v]
    if len(structures) > 1:
        raise CaptureError(
            f"{source} holds {len(structures)} calibrations of a pair", "keep the one that belongs to these pictures"
        )
    if structures:
        return structures[0]
    if None in found.values():
        raise CaptureError(f"{source} holds objects of MATLAB's classes, which only MATLAB reads", _AS_STRUCT)
    raise CaptureError(
        f"{source} holds {', '.join(found)[:80] or 'nothing'}, and no stereoParams as a structure", _AS_STRUCT
    )
