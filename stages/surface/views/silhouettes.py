"""Masks and disparity refined by the mesh as each camera sees it: all views together know more than one picture or one pair.

Of a mask only a thin band round its own outline changes, and only when the silhouette lies on stronger picture edges than the mask does;
where the two disagree by more than the band, one of them misses a part, and the mask stays as it was judged by its own stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.render import Caster

CLEARLY = 1.1
"""how much stronger the picture's edges must be under the new outline than under the old one, on average"""


@dataclass(frozen=True)
class Sight:
    """What a left camera sees of the mesh."""

    depth: np.ndarray
    """(H, W) float32 metres along the optical axis, inf where the mesh is not hit"""
    confidence: np.ndarray
    """(H, W) float32 0-1, of the mesh where it is hit"""

    @property
    def outline(self) -> np.ndarray:
        """(H, W) bool: pixels whose ray hits the mesh."""
        return np.isfinite(self.depth)


def sight(caster: Caster, confidence: np.ndarray, object_from_left: np.ndarray, rig: Rig, margin_px: int = 4) -> Sight:
    """The mesh from one frame; `confidence` (V,) per vertex. Only the box that the mesh projects to is cast."""
    out = Sight(np.full((rig.height, rig.width), np.inf, np.float32), np.zeros((rig.height, rig.width), np.float32))
    x = (caster.vertices - object_from_left[:3, 3]) @ object_from_left[:3, :3]
    uv = rig.project(x)
    uv = uv[np.isfinite(uv).all(1)]
    if len(uv) == 0:
        return out
    x0, y0 = np.maximum(np.floor(uv.min(0)).astype(int) - margin_px, 0)
    x1, y1 = np.minimum(np.ceil(uv.max(0)).astype(int) + margin_px + 1, (rig.width, rig.height))
    if x1 > x0 and y1 > y0:
        hit = caster.view(object_from_left, rig.cropped(int(x0), int(y0), int(x1 - x0), int(y1 - y0)))
        out.depth[y0:y1, x0:x1] = hit["t"]
        out.confidence[y0:y1, x0:x1] = caster.interpolate(hit, confidence[:, None])[..., 0]
    return out


def completed_disparity(matched: np.ndarray, seen: Sight, mask: np.ndarray, rig: Rig) -> np.ndarray:
    """(H, W) disparity in px: the surface's inside `mask`, the pair's own (`matched`, NaN = none) elsewhere.

    All views together know flat and shiny parts that a single pair cannot match. Where no view saw the surface (confidence 0), the
    pair's own value stays if it has one.
    """
    own = np.isfinite(matched) & (seen.confidence <= 0)
    use = mask & seen.outline & ~own
    out = matched.copy()
    out[use] = rig.disparity_from_depth(seen.depth[use])
    return out


def refined(
    mask: np.ndarray, outline: np.ndarray, picture: np.ndarray, band_px: float, hidden: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """(mask (H, W) bool, whether it changed). `outline` is the silhouette (H, W) bool, `picture` (H, W, 3) uint8. Nothing changes beside
    what is `hidden`: there the mask ends where something stands before the object."""
    import cv2

    size = 2 * int(np.ceil(band_px)) + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    m = mask.astype(np.uint8)
    band = (cv2.dilate(m, disk) > 0) & ~(cv2.erode(m, disk) > 0)
    if hidden is not None:
        band &= ~(cv2.dilate(hidden.astype(np.uint8), disk) > 0)
    proposal = np.where(band, outline, mask)
    before, after = _rim(mask), _rim(proposal)
    gone, new = before & ~after, after & ~before
    if not gone.any() or not new.any():
        return mask, False
    edges = _edge_strength(picture)
    better = float(edges[new].mean()) > CLEARLY * float(edges[gone].mean())
    return (proposal, True) if better else (mask, False)


def agreement(mask: np.ndarray, outline: np.ndarray) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = int((mask | outline).sum())
    return float((mask & outline).sum()) / union if union else 1.0


def _edge_strength(picture: np.ndarray) -> np.ndarray:
    import cv2

    smooth = cv2.GaussianBlur(picture, None, 0.7).astype(np.float32)
    dx, dy = cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1)
    return np.sqrt((dx**2 + dy**2).sum(-1))


def _rim(mask: np.ndarray) -> np.ndarray:
    """Pixels on both sides of the mask's outline."""
    import cv2

    m, cross = mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return (cv2.dilate(m, cross) > 0) & ~(cv2.erode(m, cross) > 0)
