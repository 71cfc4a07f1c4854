"""How well the textured mesh shows what the cameras saw, and whether its seams can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.meshes import TexturedMesh
from stages.core.texels.exposure import fit_gain, gain_tables
from stages.core.texels.sampling import sample_at


@dataclass(frozen=True)
class ViewScore:
    """A picture against the rendered twin inside the mask: `raw` as it is, the others after one gain per channel fitted to the picture."""

    psnr_raw_db: float
    psnr_db: float
    ssim: float
    colour_difference: float
    """mean CIE76 delta E"""
    covered: float
    """share of the mask that the twin covers"""


def score_view(picture: np.ndarray, rendered: np.ndarray, mask: np.ndarray, covered: np.ndarray) -> ViewScore | None:
    """picture (h, w, 3) uint8, rendered (h, w, 3) float32 grey levels, mask and covered (h, w) bool; None for an empty overlap."""
    both = mask & covered
    if both.sum() < 100:
        return None
    target = picture.astype(np.float32)
    gain = gain_tables(fit_gain(rendered[both], target[both]))
    level = np.clip(rendered, 0, 255)
    adapted = np.stack([np.interp(level[..., c], np.arange(257), gain[c]) for c in range(3)], -1).astype(np.float32)
    difference = np.linalg.norm(_lab(adapted) - _lab(target), axis=-1)
    return ViewScore(
        _psnr(level[both], target[both]),
        _psnr(adapted[both], target[both]),
        float(_ssim(adapted, target)[both].mean()),
        float(difference[both].mean()),
        covered=float(both.sum() / max(mask.sum(), 1)),
    )


def seam_step(mesh: TexturedMesh, samples_per_edge: int = 4) -> float:
    """Root mean square difference, grey levels, between the two sides of the UV seams: bilinear look-ups at points of each seam edge."""
    ends = _seam_edges(mesh.faces, mesh.faces_uv)
    if not len(ends):
        return 0.0
    t = (np.arange(samples_per_edge) + 0.5) / samples_per_edge
    sides = [
        mesh.uv[ends[:, s, 0], None] * (1 - t)[None, :, None] + mesh.uv[ends[:, s, 1], None] * t[None, :, None]
        for s in (0, 1)
    ]
    a, b = (_lookup(mesh.texture, side.reshape(-1, 2)) for side in sides)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def _seam_edges(faces: np.ndarray, faces_uv: np.ndarray) -> np.ndarray:
    """(E, 2 sides, 2 ends) uv indices of the mesh edges whose two faces use different uv, ends in the same order on both sides."""
    corners = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    at = np.concatenate([faces_uv[:, [0, 1]], faces_uv[:, [1, 2]], faces_uv[:, [2, 0]]])
    flip = corners[:, 0] > corners[:, 1]
    corners[flip], at[flip] = corners[flip, ::-1], at[flip, ::-1]
    order = np.lexsort((corners[:, 1], corners[:, 0]))
    corners, at = corners[order], at[order]
    same = np.flatnonzero((corners[1:] == corners[:-1]).all(1))
    pairs = np.stack([at[same], at[same + 1]], 1)
    return pairs[(pairs[:, 0] != pairs[:, 1]).any(1)]


def _lookup(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    size = texture.shape[0]
    return sample_at(texture.astype(np.float32), np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], 1))


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255.0**2 / max(float(np.mean((a - b) ** 2)), 1e-9)))


def _lab(levels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.clip(levels, 0, 255).astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def _ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(h, w) structural similarity of the luminance (Wang et al. 2004, Gaussian window of 1.5 px)."""
    x, y = (cv2.cvtColor(np.clip(i, 0, 255).astype(np.float32), cv2.COLOR_RGB2GRAY) for i in (a, b))

    def blur(i):
        return cv2.GaussianBlur(i, (11, 11), 1.5)

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
