"""Pictures for the report: what is invented in them is magenta, so that nobody takes it for the object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.images import thumbnail_jpeg

MOST, SIDE_PX = 6, 220
MAGENTA = np.array([255, 0, 200], np.float32)


def marked(picture: np.ndarray, invented: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, half magenta where `invented` (H, W)."""
    return np.where(invented[..., None], 0.5 * picture + 0.5 * MAGENTA, picture).astype(np.uint8)


def completed_sheet(out: Path, found: Any, painted: Any) -> list[tuple[str, str]]:
    """The completed surface from four sides, above in its colours, below as marked: (caption, path)."""
    from stages.core.render import Caster, shade_view, turntable_rig

    rig, poses = turntable_rig(found.vertices, SIDE_PX)
    caster, clay = Caster(found.vertices, found.faces), np.where(found.invented[:, None], MAGENTA, 215).astype(np.uint8)
    columns = [
        np.vstack([_textured(caster, painted, pose, rig), shade_view(caster, pose, rig, clay)]) for pose in poses
    ]
    thumbnail_jpeg(out / "pictures/completed.jpg", np.hstack(columns), 1280)
    return [("the completed surface from four sides; below, magenta: invented by the model", "pictures/completed.jpg")]


def _textured(caster: Any, painted: Any, pose: np.ndarray, rig: Any) -> np.ndarray:
    """(H, W, 3) uint8: nearest texels, on white."""
    mesh, hit = painted.mesh, caster.view(pose, rig)
    corner = mesh.uv[mesh.faces_uv[np.maximum(hit["face"], 0)]]
    u, v = hit["uv"][..., :1].astype(float), hit["uv"][..., 1:].astype(float)
    at, size = corner[..., 0, :] * (1 - u - v) + corner[..., 1, :] * u + corner[..., 2, :] * v, mesh.texture.shape[0]
    column, row = (np.clip((c * size).astype(int), 0, size - 1) for c in (at[..., 0], 1 - at[..., 1]))
    return np.where((hit["face"] >= 0)[..., None], mesh.texture[row, column], 255).astype(np.uint8)


def sheet(out: Path, views: list[Any]) -> list[tuple[str, str]]:
    """One picture of the first few views, above as they are, below as marked: (caption, path)."""

    def small(a):
        return cv2.resize(a, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)

    columns = [np.vstack([small(v.picture), small(marked(v.picture, v.invented))]) for v in views[:MOST]]
    thumbnail_jpeg(out / "pictures/views.jpg", np.hstack(columns), 1280)
    return [("views from where no picture was taken; below, magenta: invented by the model", "pictures/views.jpg")]
