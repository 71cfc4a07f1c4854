"""The settings file of NVIDIA's 3D object reconstruction workflow: `camera_config.intrinsic` (nine numbers, row by row) and `baseline` in
metres, which stands in `camera_config` or in the section of the stereo network. Its pictures are rectified, with one K for both cameras.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.core.errors import CaptureError
from stages.core.stereo_calibration import StereoCalibration, parallel
from stages.rectify.calibration_file import entry, matrix, number


def read(path: Path) -> StereoCalibration:
    """Raises CaptureError; different baselines in one file are an error too."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise CaptureError(f"{path.name} is not valid YAML: {e}", "correct the file") from e
    K = matrix(entry(entry(data, "camera_config", path.name), "intrinsic", path.name), 3, "camera_config.intrinsic", path.name)
    found = {number(b, "baseline", path.name) for b in _all(data, "baseline")}
    if len(found) != 1:
        raise CaptureError(f"{path.name}: expected one baseline, found {sorted(found) or 'none'}", "give camera_config.baseline in metres")
    return parallel(K, K, found.pop(), None, path.name)


def _all(data: Any, key: str) -> Iterator[Any]:
    """Every value stored under `key` at any depth."""
    if isinstance(data, dict):
        for k, v in data.items():
            if k == key:
                yield v
            else:
                yield from _all(v, key)
