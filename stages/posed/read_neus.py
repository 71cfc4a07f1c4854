"""cameras.npz of IDR and NeuS (their DTU): world_mat_i projects world points to integer pixels, scale_mat_i brings the unit sphere, in
which the object lies, to the world; world_mat @ scale_mat = K [R | t] is decomposed and its scale taken back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedCamera, PosedSet, decomposed, require_camera_matrix
from stages.posed.values import load_array, pictures_in, refuse_count, size_of

NAMES = ("cameras_sphere.npz", "cameras.npz")
SKEW_TOLERANCE = 1e-3
"""of the focal length"""


def find(root: Path) -> Path | None:
    """The file, or None; the one whose sphere is tight comes first."""
    return next((root / n for n in NAMES if (root / n).is_file()), None)


def read(root: Path, path: Path) -> PosedSet:
    """All pictures of image/ (or images/) with the masks of mask/. Raises CaptureError by file and frame."""
    arrays = load_array(path)
    if not isinstance(arrays, dict):
        raise CaptureError(
            f"{path.name} holds one array; expected world_mat_0, scale_mat_0, ..", "save the archive with numpy.savez"
        )
    indices = sorted(int(m[1]) for k in arrays if (m := re.fullmatch(r"world_mat_(\d{1,6})", k)))
    refuse_count(len(indices), path)
    pictures = pictures_in(root / "image") or pictures_in(root / "images")
    if len(pictures) != len(indices) or indices != list(range(len(indices))):
        raise CaptureError(
            f"{path.name} has cameras {indices[0]}..{indices[-1]} ({len(indices)}), image/ has {len(pictures)} pictures",
            "one picture per camera, numbered from 0",
        )
    masks = pictures_in(root / "mask") or pictures_in(root / "masks")
    if masks and len(masks) != len(pictures):
        raise CaptureError(
            f"mask/ has {len(masks)} pictures and image/ has {len(pictures)}",
            "one mask per picture, in the same order, or none",
        )
    cameras = [_camera(arrays, i, pictures[i], masks[i] if masks else None, path=path) for i in indices]
    return PosedSet("neus", path, tuple(cameras), sphere=_sphere(arrays, path))


def _mat(arrays: dict, name: str, path: Path) -> np.ndarray:
    m = arrays.get(name)
    if m is None or m.shape not in ((4, 4), (3, 4)) or m.dtype.kind not in "fiu" or not np.isfinite(m).all():
        raise CaptureError(
            f"{path.name}: {name} is {'missing' if m is None else f'{m.dtype} {m.shape}'}",
            "expected 4x4 finite numbers",
        )
    return m.astype(float)


def _similarity(arrays: dict, i: int, path: Path) -> np.ndarray:
    """scale_mat_i (4, 4): a scale and a shift. Raises CaptureError."""
    S = _mat(arrays, f"scale_mat_{i}", path)
    scale = float(S[0, 0])
    if (
        S.shape != (4, 4)
        or scale <= 0
        or np.abs(S[:3, :3] - scale * np.eye(3)).max() > 1e-4 * scale
        or np.abs(S[3] - [0, 0, 0, 1]).max() > 1e-6
    ):
        raise CaptureError(
            f"{path.name}, frame {i}: scale_mat is {S.round(4).tolist()}",
            "expected one scale on the diagonal and a shift",
        )
    return S


def _camera(arrays: dict, i: int, picture: Path, mask: Path | None, path: Path) -> PosedCamera:
    where = f"{path.name}, frame {i} ({picture.name})"
    S = _similarity(arrays, i, path)
    if np.abs(S - _similarity(arrays, 0, path)).max() > 1e-5 * np.abs(S).max():
        raise CaptureError(f"{where}: its scale_mat differs from that of frame 0", "all frames must share one sphere")
    K, sphere_from_camera = decomposed((_mat(arrays, f"world_mat_{i}", path) @ S)[:3], where)
    size = size_of(picture)
    require_camera_matrix(K, size, where)
    if abs(K[0, 1]) > SKEW_TOLERANCE * K[0, 0]:
        raise CaptureError(
            f"{where}: its projection has a skew of {K[0, 1]:.4g} px", "world_mat does not fit scale_mat"
        )
    pose = sphere_from_camera.copy()
    pose[:3, 3] = S[0, 0] * pose[:3, 3] + S[:3, 3]
    return PosedCamera(picture.name, picture, K, pose, *size, mask=mask)


def _sphere(arrays: dict, path: Path) -> tuple[np.ndarray, float]:
    S = _similarity(arrays, 0, path)
    return S[:3, 3], float(S[0, 0])
