"""Middlebury multi-view *_par.txt: a count, then per picture "name k11..k33 r11..r33 t1 t2 t3" with x = K [R t] X."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.plain_files import read_text
from stages.core.posed_cameras import PosedCamera, PosedSet, require_camera_matrix, require_rigid
from stages.posed.values import picture_at, pictures_in, refuse_count, size_of


def find(root: Path) -> Path | None:
    """The file, or None. Raises CaptureError for several."""
    found = sorted(root.glob("*_par.txt"))
    if len(found) > 1:
        raise CaptureError(f"{root} holds {found[0].name} and {found[1].name}", "keep the one of these pictures")
    return found[0] if found else None


def read(root: Path, path: Path) -> PosedSet:
    """All pictures it names, with masks/NAME where there is one. Raises CaptureError by file and line."""
    lines = [line.split() for line in read_text(path, most=16 << 20).splitlines() if line.strip()]
    if not lines or len(lines[0]) != 1 or not lines[0][0].isdecimal() or len(lines[0][0]) > 6:
        raise CaptureError(
            f"{path.name}, line 1: expected the number of pictures",
            "see the format's README: a count, then a line per picture",
        )
    if int(lines[0][0]) != len(lines) - 1:
        raise CaptureError(f"{path.name} says {lines[0][0]} pictures and names {len(lines) - 1}", "correct the count")
    refuse_count(len(lines) - 1, path)
    masks = {p.stem: p for p in pictures_in(root / "masks")}
    cameras = [_camera(root, path, i + 2, words, masks=masks) for i, words in enumerate(lines[1:])]
    names = [c.name for c in cameras]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise CaptureError(f"{path.name} names {twice} twice", "keep one of the lines")
    return PosedSet("middlebury", path, tuple(cameras))


def _camera(root: Path, path: Path, line: int, words: list[str], masks: dict[str, Path]) -> PosedCamera:
    where = f"{path.name}, line {line} ({words[0][:60]})"
    try:
        values = np.array([float(w) for w in words[1:]])
    except ValueError as e:
        raise CaptureError(f"{where}: {str(e)[:80]}", "21 numbers after the name") from e
    if len(values) != 21 or not np.isfinite(values).all():
        raise CaptureError(
            f"{where}: {len(values)} numbers; expected 21 finite ones", "K (9), R (9), t (3), row by row"
        )
    picture = picture_at(root, words[0], where)
    size = size_of(picture)
    K = require_camera_matrix(values[:9].reshape(3, 3), size, where)
    camera_from_world = require_rigid(np.column_stack([values[9:18].reshape(3, 3), values[18:]]), where)
    pose = np.eye(4)
    pose[:3, :3] = camera_from_world[:3, :3].T
    pose[:3, 3] = -pose[:3, :3] @ camera_from_world[:3, 3]
    return PosedCamera(words[0], picture, K, pose, *size, mask=masks.get(picture.stem))
