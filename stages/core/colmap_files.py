"""The files of a COLMAP model, text and binary: cameras, images, points, rigs. Poses are world to camera, principal points from the corner
of the picture (as they stand in the files)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.plain_files import read_bytes, read_text
from stages.core.posed_cameras import LensModel, pinhole

MOST_FRAMES = 20_000
MODELS: dict[int, tuple[str, int]] = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
}
COUNTS = dict(MODELS.values())
MODEL_BYTES = 1 << 30
MOST_POINTS = 5_000_000
Lens = tuple[np.ndarray, int, int, LensModel, tuple[float, ...]]
Image = tuple[int, str, int, np.ndarray]
"""id, name, camera id, qw qx qy qz tx ty tz"""


def rotation_of(q: np.ndarray) -> np.ndarray:
    """(3, 3) of a unit quaternion w x y z."""
    w, x, y, z = q
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def _lens(model: str, width: int, height: int, p: tuple[float, ...], where: str) -> Lens:
    if not 0 < width <= 100_000 or not 0 < height <= 100_000:
        raise CaptureError(f"{where}: {width}x{height} px, parameters {p[:4]}", "the file is damaged")
    K, lens, distortion = intrinsics(model, p, where)
    return K, width, height, lens, distortion


def intrinsics(model: str, p: tuple[float, ...], where: str) -> tuple[np.ndarray, LensModel, tuple[float, ...]]:
    """K (3, 3), the kind of lens and its distortion, of a model in `COUNTS` with as many parameters. Raises CaptureError."""
    if not all(math.isfinite(x) for x in p):
        raise CaptureError(f"{where}: parameters {p[:4]}", "the file is damaged")
    simple = model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
    fx, fy, cx, cy, *rest = (p[0], *p) if simple else p
    lens: LensModel = "none" if not any(rest) else "fisheye" if model == "OPENCV_FISHEYE" else "opencv"
    radial = tuple(rest) if len(rest) >= 4 else (*rest, *(0.0,) * (4 - len(rest)))
    if model in ("SIMPLE_RADIAL", "RADIAL"):
        radial = (rest[0], rest[1] if len(rest) > 1 else 0.0, 0.0, 0.0)
    return pinhole(fx, fy, cx, cy), lens, radial if lens != "none" else ()


def text_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    for i, line in enumerate(read_text(path, most=256 << 20).split("\n")):
        if not line.startswith("#"):
            yield i + 1, line.split()


def text_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    for line, words in text_lines(path):
        if not words:
            continue
        where = f"{path.name}, line {line}"
        if len(words) < 5 or words[1] not in COUNTS or len(words) != 4 + COUNTS[words[1]]:
            raise CaptureError(
                f"{where}: {' '.join(words)[:80]}",
                f"expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS with one of {', '.join(COUNTS)}",
            )
        try:
            yield (
                int(words[0]),
                _lens(words[1], int(words[2]), int(words[3]), tuple(map(float, words[4:])), where=where),
            )
        except ValueError as e:
            raise CaptureError(f"{where}: {str(e)[:80]}", "correct the number") from e


def text_images(path: Path) -> Iterator[Image]:
    """Two lines each: the pose, and its points, which may be empty."""
    expect_pose = True
    for line, words in text_lines(path):
        if not expect_pose:
            expect_pose = True
            continue
        if not words:
            continue
        if len(words) < 10:
            raise CaptureError(
                f"{path.name}, line {line}: {len(words)} words", "expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            )
        try:
            yield int(words[0]), " ".join(words[9:]), int(words[8]), np.array([float(w) for w in words[1:8]])
        except ValueError as e:
            raise CaptureError(f"{path.name}, line {line}: {str(e)[:80]}", "correct the number") from e
        expect_pose = False


def text_points(path: Path) -> np.ndarray:
    rows = []
    for line, words in text_lines(path):
        if words:
            try:
                rows.append([float(w) for w in words[1:4]])
            except ValueError as e:
                raise CaptureError(f"{path.name}, line {line}: {str(e)[:80]}", "correct the number") from e
    return _points(rows, path)


def _points(rows: list, path: Path) -> np.ndarray:
    if any(len(r) != 3 for r in rows) or not np.isfinite(out := np.array(rows, float).reshape(-1, 3)).all():
        raise CaptureError(f"{path.name}: points that are not three finite numbers", "the file is damaged")
    return out


class Bytes:
    """A binary file read in order; its end names the file."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, read_bytes(path, most=MODEL_BYTES), 0

    def take(self, form: str) -> tuple:
        try:
            out = struct.unpack_from(f"<{form}", self.data, self.at)
        except struct.error as e:
            raise CaptureError(
                f"{self.path.name} ends at byte {len(self.data)} within an entry", "copy the file again"
            ) from e
        self.at += struct.calcsize(f"<{form}")
        return out

    def count(self, most: int) -> int:
        (n,) = self.take("Q")
        if n > most:
            raise CaptureError(f"{self.path.name} claims {n} entries", "the file is damaged, or no COLMAP model")
        return n

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):
            raise CaptureError(f"{self.path.name} ends at byte {len(self.data)} within an entry", "copy the file again")

    def name(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + 2000)
        if end < 0:
            raise CaptureError(f"{self.path.name}: a picture's name has no end", "the file is damaged")
        raw, self.at = self.data[self.at : end], end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError as e:
            raise CaptureError(
                f"{self.path.name}: a picture's name is no UTF-8 ({raw[:40]!r})", "the file is damaged"
            ) from e


def binary_cameras(path: Path) -> Iterator[tuple[int, Lens]]:
    f = Bytes(path)
    for _ in range(f.count(MOST_FRAMES)):
        number, model, width, height = f.take("IiQQ")
        if model not in MODELS:
            raise CaptureError(
                f"{path.name}, camera {number}: model {model}",
                f"undistort the pictures first; read are {', '.join(COUNTS)}",
            )
        name, count = MODELS[model]
        yield number, _lens(name, width, height, f.take(f"{count}d"), where=f"{path.name}, camera {number}")


def binary_images(path: Path) -> Iterator[Image]:
    f = Bytes(path)
    for _ in range(f.count(MOST_FRAMES)):
        number, *qt, camera = f.take("I7dI")
        name = f.name()
        f.skip(24 * f.count(1 << 24))
        yield number, name, camera, np.array(qt)


def binary_points(path: Path) -> np.ndarray:
    f, rows = Bytes(path), []
    for _ in range(f.count(MOST_POINTS)):
        _, x, y, z, *_rest = f.take("Q3d3Bd")
        f.skip(8 * f.count(1 << 24))
        rows.append((x, y, z))
    return _points(rows, path)
