"""K.txt of FoundationStereo, and the settings file of NVIDIA's 3D object reconstruction workflow: `camera_config.intrinsic` (nine numbers,
row by row) and `baseline` in metres, which stands in `camera_config` or in the section of the stereo network. The pictures of both are
rectified, with one K for both cameras.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.core.errors import CaptureError
from stages.core.json_entries import entry, matrix, number, numbers
from stages.core.plain_files import read_text
from stages.core.plain_yaml import scalar
from stages.core.stereo_calibration import StereoCalibration, parallel


def read(data: dict[str, Any], source: str) -> StereoCalibration:
    """Raises CaptureError; different baselines in one file are an error too."""
    K = matrix(entry(entry(data, "camera_config", source), "intrinsic", source), 3, "camera_config.intrinsic", source)
    found = {number(b, "baseline", source) for b in _all(data, "baseline")}
    if len(found) != 1:
        raise CaptureError(
            f"{source}: expected one baseline, found {sorted(found) or 'none'}", "give camera_config.baseline in metres"
        )
    return parallel(K, K, found.pop(), None, source=source)


def read_K_txt(path: Path) -> StereoCalibration:
    """K in nine numbers, row by row, then the baseline in metres; of rectified pictures. Raises CaptureError."""
    words = read_text(path).replace(",", " ").split()
    values = numbers([scalar(w) for w in words], "the content", path.name)
    if values.size != 10:
        raise CaptureError(
            f"{path.name} has {values.size} numbers; expected 10",
            "write the 9 of K, row by row, and the baseline in metres",
        )
    K = values[:9].reshape(3, 3)
    return dataclasses.replace(
        parallel(K, K, float(values[9]), None, source=path.name), kind="K.txt of FoundationStereo"
    )


def _all(data: Any, key: str) -> Iterator[Any]:
    """Every value stored under `key` at any depth."""
    if isinstance(data, dict):
        for k, v in data.items():
            if k == key:
                yield v
            else:
                yield from _all(v, key)
