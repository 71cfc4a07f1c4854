"""Masks refined by the silhouette of the mesh: all views together know the outline better than one picture's segmentation.

Only a thin band round the mask's own outline changes, and only when the silhouette lies on stronger picture edges than the mask does;
where the two disagree by more than the band, one of them misses a part, and the mask stays as it was judged by its own stage.
"""

from __future__ import annotations

import numpy as np

from stages.core.camera import Rig
from stages.core.render import Caster


def silhouette(caster: Caster, object_from_left: np.ndarray, rig: Rig, margin_px: int = 4) -> np.ndarray:
    """(H, W) bool: pixels whose ray hits the mesh. Only the box that the mesh projects to is cast."""
    out = np.zeros((rig.height, rig.width), bool)
    x = (caster.vertices - object_from_left[:3, 3]) @ object_from_left[:3, :3]
    uv = rig.project(x)
    uv = uv[np.isfinite(uv).all(1)]
    if len(uv) == 0:
        return out
    x0, y0 = np.maximum(np.floor(uv.min(0)).astype(int) - margin_px, 0)
    x1, y1 = np.minimum(np.ceil(uv.max(0)).astype(int) + margin_px + 1, (rig.width, rig.height))
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = caster.view(object_from_left, rig.cropped(int(x0), int(y0), int(x1 - x0), int(y1 - y0)))["face"] >= 0
    return out


def refined(mask: np.ndarray, outline: np.ndarray, picture: np.ndarray, band_px: float) -> tuple[np.ndarray, bool]:
    """(mask (H, W) bool, whether it changed). `outline` is the silhouette (H, W) bool, `picture` (H, W, 3) uint8."""
    import cv2

    size = 2 * int(np.ceil(band_px)) + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    m = mask.astype(np.uint8)
    band = (cv2.dilate(m, disk) > 0) & ~(cv2.erode(m, disk) > 0)
    proposal = np.where(band, outline, mask)
    edges = _edge_strength(picture)
    before, after = _on_outline(edges, mask & ~proposal | proposal & ~mask, mask), _on_outline(edges, mask ^ proposal, proposal)
    if (mask ^ proposal).sum() == 0 or after <= before:
        return mask, False
    return proposal, True


def agreement(mask: np.ndarray, outline: np.ndarray) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = int((mask | outline).sum())
    return float((mask & outline).sum()) / union if union else 1.0


def _edge_strength(picture: np.ndarray) -> np.ndarray:
    import cv2

    smooth = cv2.GaussianBlur(picture, None, 0.7).astype(np.float32)
    dx, dy = cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1)
    return np.sqrt((dx**2 + dy**2).sum(-1))


def _on_outline(edges: np.ndarray, changed: np.ndarray, mask: np.ndarray) -> float:
    """Mean edge strength along the part of the mask's outline that the change touches; 0 when there is none."""
    import cv2

    near = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    m = mask.astype(np.uint8)
    rim = (cv2.dilate(m, np.ones((3, 3), np.uint8)) > 0) & ~(cv2.erode(m, np.ones((3, 3), np.uint8)) > 0) & near
    return float(edges[rim].mean()) if rim.any() else 0.0
