"""Pictures of a textured mesh by ray casting: what the twin looks like from a camera, without a window system or a GPU."""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.meshes import TexturedMesh
from stages.core.render import BACKGROUND, Caster


def render_textured(
    mesh: TexturedMesh,
    object_from_camera: np.ndarray,
    rig: Rig,
    caster: Caster | None = None,
    mips: list[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """((H, W, 3) float32 grey levels 0-255, white where nothing is hit, and (H, W) bool where something is), unlit.

    Bilinear look-up in the mip level whose texels are about as large as a pixel. Pass `caster` and `mips` when rendering more than once.
    """
    caster = caster or Caster(mesh.vertices, mesh.faces)
    hit = caster.view(object_from_camera, rig)
    seen = hit["face"] >= 0
    at = texture_coordinates(mesh, hit)
    levels = mips or mip_levels(mesh.texture)
    level = levels[_level(at, seen, mesh.texture.shape[0], len(levels))]
    height, width = level.shape[:2]
    x, y = (at[..., 0] * width - 0.5).astype(np.float32), ((1 - at[..., 1]) * height - 0.5).astype(np.float32)
    image = cv2.remap(level.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    image[~seen] = BACKGROUND
    return image, seen


def texture_coordinates(mesh: TexturedMesh, hit: dict[str, np.ndarray]) -> np.ndarray:
    """(..., 2) uv at the hits of `Caster.cast`; those of face 0 where nothing was hit."""
    corner = mesh.faces_uv[np.maximum(hit["face"], 0)]
    u, v = hit["uv"][..., :1].astype(float), hit["uv"][..., 1:].astype(float)
    return mesh.uv[corner[..., 0]] * (1 - u - v) + mesh.uv[corner[..., 1]] * u + mesh.uv[corner[..., 2]] * v


def mip_levels(texture: np.ndarray, count: int = 4) -> list[np.ndarray]:
    """The texture and its halves by area."""
    out = [texture]
    while len(out) < count and min(out[-1].shape[:2]) >= 64:
        out.append(cv2.resize(out[-1], (out[-1].shape[1] // 2, out[-1].shape[0] // 2), interpolation=cv2.INTER_AREA))
    return out


def _level(at: np.ndarray, seen: np.ndarray, size: int, count: int) -> int:
    """Mip level by the median texels per pixel step; steps across a chart edge are the few large ones that a median ignores."""
    if at.shape[1] < 2 or not seen.any():
        return 0
    both = seen[:, 1:] & seen[:, :-1]
    step = np.linalg.norm(np.diff(at, axis=1), axis=-1)[both] * size
    return (
        int(np.clip(np.floor(np.log2(max(float(np.median(step)), 1e-6) / 1.4) + 0.5), 0, count - 1)) if step.size else 0
    )
