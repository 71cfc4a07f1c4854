"""NeRF's Blender format: transforms_train.json and RGBA pictures. It knows one centred lens with square pixels, so pictures are resampled
once to that lens; colour outside the mask is white, alpha 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera_service import write_transforms
from stages.core.export.twin_views import TwinViews
from stages.core.posed_cameras import pinhole


def write(views: TwinViews, out: Path) -> None:
    """out/train/NNNNNN.png and out/transforms_train.json."""
    rig = views.rig
    centred = pinhole(rig.fx, rig.fx, (rig.width - 1) / 2, (rig.height - 1) / 2)
    (out / "train").mkdir(parents=True)
    for i, camera in enumerate(views.cameras):
        picture = np.dstack([views.rgb(i), np.where(views.mask(i), np.uint8(255), np.uint8(0))])
        write_rgba(out / "train" / f"{camera.name}.png", resampled(picture, camera.K, centred))
    cameras = [replace(c, K=centred) for c in views.cameras]
    write_transforms(out / "transforms_train.json", cameras, [f"train/{c.name}" for c in cameras])


def resampled(picture: np.ndarray, K: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(H, W, C) seen through the lens `target` instead of K; what lay outside is 0."""
    if np.abs(K - target).max() < 1e-9:
        return picture
    return cv2.warpPerspective(
        picture, target @ np.linalg.inv(K), picture.shape[1::-1], flags=cv2.INTER_CUBIC, borderValue=0
    )


def write_rgba(path: Path, rgba: np.ndarray) -> None:
    """(H, W, 4) uint8, white where alpha is 0."""
    out = rgba.copy()
    out[out[..., 3] == 0, :3] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(out, cv2.COLOR_RGBA2BGRA))
