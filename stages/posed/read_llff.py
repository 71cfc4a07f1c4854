"""LLFF's poses_bounds.npy: a row per picture, 3x5 [R | t | H W f] and two depths. The columns of R are down, right, backward."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedCamera, PosedSet, pinhole, require_camera_matrix, require_rigid
from stages.posed.values import load_array, pictures_in, refuse_count, size_of

NAME = "poses_bounds.npy"


def find(root: Path) -> Path | None:
    """The file, or None."""
    return root / NAME if (root / NAME).is_file() else None


def read(root: Path, path: Path) -> PosedSet:
    """All pictures of images/ (or images_2 .. images_8) with their cameras. Raises CaptureError by file and frame."""
    rows = load_array(path)
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind not in "fiu":
        shape = getattr(rows, "shape", "an archive")
        raise CaptureError(
            f"{path.name}: {shape}; expected a table of numbers with 17 columns", "write it with LLFF's imgs2poses.py"
        )
    refuse_count(len(rows), path)
    pictures, folder = _pictures(root, len(rows))
    masks = _beside(root, folder.replace("images", "masks"), pictures)
    cameras = [
        _camera(row, i, pictures[i], masks.get(pictures[i].stem), path=path) for i, row in enumerate(rows.astype(float))
    ]
    return PosedSet("llff", path, tuple(cameras), notes=() if folder == "images" else (f"pictures of {folder}/",))


def _pictures(root: Path, count: int) -> tuple[list[Path], str]:
    tried = {}
    for folder in ("images", "images_2", "images_4", "images_8"):
        found = pictures_in(root / folder)
        if len(found) == count:
            return sorted(found), folder
        tried[folder] = len(found)
    raise CaptureError(
        f"{root / NAME} has {count} rows, the folders have {tried} pictures",
        "one picture per row, in the order of their names",
    )


def _beside(root: Path, folder: str, pictures: list[Path]) -> dict[str, Path]:
    stems = {p.stem for p in pictures}
    return {p.stem: p for p in pictures_in(root / folder) or pictures_in(root / "masks") if p.stem in stems}


def _camera(row: np.ndarray, i: int, picture: Path, mask: Path | None, path: Path) -> PosedCamera:
    where = f"{path.name}, frame {i} ({picture.name})"
    if not np.isfinite(row).all():
        raise CaptureError(f"{where}: values that are not finite", "remove the row and its picture")
    pose = row[:15].reshape(3, 5)
    height, width, focal = pose[:, 4]
    down, right, back, t = pose[:, :4].T
    matrix = require_rigid(np.column_stack([right, down, -back, t]), where)
    w, h = size_of(picture)
    if width < 1 or height < 1 or abs(w / width - h / height) * max(width, height) > 4:
        raise CaptureError(
            f"{where}: the picture has {w}x{h} px, the row says {width:g}x{height:g}",
            "the picture was cropped or turned after the cameras were found",
        )
    sx, sy = w / width, h / height
    K = require_camera_matrix(pinhole(focal * sx, focal * sy, w / 2 - 0.5, h / 2 - 0.5), (w, h), where)
    near, far = row[15:]
    if not 0 < near < far:
        raise CaptureError(f"{where}: depth bounds {near:g} and {far:g}", "near must be positive and smaller than far")
    return PosedCamera(picture.name, picture, K, matrix, width=w, height=h, mask=mask, bounds=(float(near), float(far)))
