"""COLMAP models as posed pictures: camera_from_world as quaternion and shift, principal point from the corner."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.colmap_files import (
    Image,
    Lens,
    binary_cameras,
    binary_images,
    binary_points,
    rotation_of,
    text_cameras,
    text_images,
    text_points,
)
from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedCamera, PosedSet, require_camera_matrix, require_rigid
from stages.posed.values import picture_at, refuse_count, size_of

FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "dense/sparse", ".")


def find(root: Path) -> Path | None:
    """The folder of the model, or None."""
    return next(
        (root / f for f in FOLDERS if any((root / f / f"cameras{s}").is_file() for s in (".bin", ".txt"))), None
    )


def read(root: Path, folder: Path) -> PosedSet:
    """All registered pictures of images/ (or of the folder), in the order of their names. Raises CaptureError by file and frame."""
    binary = (folder / "cameras.bin").is_file()
    suffix = ".bin" if binary else ".txt"
    for part in ("images", "cameras"):
        if not (folder / f"{part}{suffix}").is_file():
            raise CaptureError(
                f"{folder} has no {part}{suffix}", "copy all files of the model: cameras, images, points3D"
            )
    lenses = dict(binary_cameras(folder / "cameras.bin") if binary else text_cameras(folder / "cameras.txt"))
    images = list(binary_images(folder / "images.bin") if binary else text_images(folder / "images.txt"))
    refuse_count(len(images), folder / f"images{suffix}")
    pictures = root / "images" if (root / "images").is_dir() else root
    cameras = [
        _camera(pictures, root, folder / f"images{suffix}", lenses, image=image)
        for image in sorted(images, key=lambda i: i[1])
    ]
    names = [c.name for c in cameras]
    if len(set(names)) < len(names):
        raise CaptureError(
            f"{folder / f'images{suffix}'} names {next(n for n in names if names.count(n) > 1)} twice",
            "keep one of them",
        )
    file = folder / f"points3D{suffix}"
    points = (binary_points(file) if binary else text_points(file)) if file.is_file() else np.empty((0, 3))
    return PosedSet("colmap", folder, tuple(cameras), points)


def _camera(pictures: Path, root: Path, path: Path, lenses: dict[int, Lens], image: Image) -> PosedCamera:
    number, name, camera_id, qt = image
    where = f"{path.name}, image {number} ({name[:60]})"
    if camera_id not in lenses:
        raise CaptureError(f"{where}: camera {camera_id} is not in cameras", "the files are of different models")
    K, width, height, lens, distortion = lenses[camera_id]
    picture = picture_at(pictures, name, where)
    size = size_of(picture)
    sx, sy = size[0] / width, size[1] / height
    if abs(sx * height - size[1]) > 2:
        raise CaptureError(
            f"{where}: the picture has {size[0]}x{size[1]} px, its camera {width}x{height}",
            "the picture was cropped or turned",
        )
    K = np.diag([sx, sy, 1.0]) @ K
    K[:2, 2] -= 0.5
    norm = float(np.linalg.norm(qt[:4]))
    if not np.isfinite(qt).all() or not 0.99 < norm < 1.01:
        raise CaptureError(f"{where}: its quaternion has the length {norm:.4g}", "give unit quaternions w x y z")
    pose = np.eye(4)
    pose[:3, :3] = rotation_of(qt[:4] / norm).T
    pose[:3, 3] = -pose[:3, :3] @ qt[4:]
    mask = next(
        (p for p in (root / "masks" / f"{name}.png", (root / "masks" / name).with_suffix(".png")) if p.is_file()), None
    )
    return PosedCamera(
        name, picture, require_camera_matrix(K, size, where), require_rigid(pose, where), *size, lens, distortion, mask
    )
