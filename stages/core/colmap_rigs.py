"""The rigs of a COLMAP model (rigs.bin or rigs.txt, since COLMAP 3.12): cameras that are fixed to each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.colmap_files import MOST_FRAMES, Bytes, rotation_of, text_lines
from stages.core.errors import CaptureError

CAMERA = 0
"""number of the sensor type in rigs.bin; text has the word"""
MOST_SENSORS = 1000
MOST_NUMBER = 1e9
"""of a pose: larger ones are of no rig"""
_DAMAGED = "the file is damaged, or no rigs of COLMAP 3.12 or later"


@dataclass(frozen=True)
class ColmapRig:
    """{camera id: camera_from_rig (4, 4)}; a camera whose place is not known is in `unplaced`. Other sensors are left out."""

    number: int
    cameras: dict[int, np.ndarray]
    unplaced: tuple[int, ...] = ()


def read_rigs(path: Path) -> list[ColmapRig]:
    """Raises CaptureError by file and rig."""
    return list(_binary(path) if path.suffix == ".bin" else _text(path))


def _binary(path: Path) -> Iterator[ColmapRig]:
    f = Bytes(path)
    for _ in range(f.count(MOST_FRAMES)):
        number, sensors = f.take("II")
        if sensors > MOST_SENSORS:
            raise CaptureError(f"{path.name}, rig {number} claims {sensors} sensors", _DAMAGED)
        found = []
        for k in range(sensors):
            kind, sensor = f.take("iI")
            pose = (1.0, 0, 0, 0, 0, 0, 0) if k == 0 else f.take("7d") if f.take("B")[0] else None
            found.append((kind == CAMERA, sensor, pose))
        yield _rig(path, number, found)


def _text(path: Path) -> Iterator[ColmapRig]:
    """RIG_ID NUM_SENSORS REF_TYPE REF_ID, then for each other sensor TYPE ID HAS_POSE [QW QX QY QZ TX TY TZ]."""
    for line, words in text_lines(path):
        if not words:
            continue
        try:
            yield _rig(path, int(words[0]), list(_sensors(words[1:])))
        except (ValueError, IndexError) as e:
            raise CaptureError(
                f"{path.name}, line {line}: {' '.join(words)[:80]}",
                "expected RIG_ID NUM_SENSORS TYPE ID, then TYPE ID HAS_POSE [QW QX QY QZ TX TY TZ] of each other sensor",
            ) from e


def _sensors(words: list[str]) -> Iterator[tuple[bool, int, tuple[float, ...] | None]]:
    count, at = int(words[0]), 1
    for k in range(count):
        kind, sensor = words[at], int(words[at + 1])
        at += 2
        pose: tuple[float, ...] | None = (1.0, 0, 0, 0, 0, 0, 0)
        if k > 0:
            pose, at = (tuple(map(float, words[at + 1 : at + 8])), at + 8) if int(words[at]) else (None, at + 1)
        yield kind == "CAMERA", sensor, pose
    if at != len(words):
        raise ValueError("words are left over")


def _rig(path: Path, number: int, sensors: list[tuple[bool, int, tuple[float, ...] | None]]) -> ColmapRig:
    cameras, unplaced = {}, []
    for is_camera, sensor, pose in sensors:
        if not is_camera:
            continue
        if pose is None:
            unplaced.append(sensor)
        else:
            cameras[sensor] = matrix_of(np.array(pose, float), f"{path.name}, rig {number}, camera {sensor}")
    return ColmapRig(number, cameras, tuple(unplaced))


def matrix_of(pose: np.ndarray, where: str) -> np.ndarray:
    """(4, 4) of qw qx qy qz tx ty tz. Raises CaptureError for what is no pose."""
    sane = pose.shape == (7,) and bool((np.abs(pose) < MOST_NUMBER).all())
    norm = float(np.linalg.norm(pose[:4])) if sane else float("nan")
    if not 0.99 < norm < 1.01:
        raise CaptureError(f"{where}: its quaternion has the length {norm:.4g}", _DAMAGED)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_of(pose[:4] / norm), pose[4:]
    return out
