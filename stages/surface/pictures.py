"""Small pictures for the report: the mesh from four sides, its confidence, and depth as measured beside the depth of the mesh."""

from __future__ import annotations

import numpy as np

from stages.core.render import Caster, shade_view, turntable_rig
from stages.surface.views.views import View


def four_sides(caster: Caster, colours: np.ndarray | None = None, size: int = 320) -> np.ndarray:
    """(size, 4 size, 3) uint8."""
    rig, poses = turntable_rig(caster.vertices, size)
    return np.hstack([shade_view(caster, p, rig, colours) for p in poses])


def confidence_colours(confidence: np.ndarray) -> np.ndarray:
    """(V, 3) uint8: grey = never seen, red = interpolated, over yellow to green = well measured."""
    c = confidence[:, None]
    ramp = np.concatenate([np.clip(2 - 2 * c, 0, 1), np.clip(2 * c, 0, 1), np.full_like(c, 0.15)], 1)
    return np.where(c > 0, 255 * ramp, 150).astype(np.uint8)


def depth_pair(caster: Caster, view: View) -> np.ndarray:
    """Measured depth, depth of the mesh, and their difference in sigmas (white = none, red = mesh nearer, blue = farther), side by side."""
    hit = caster.view(view.object_from_left, view.rig)
    model = np.where(np.isfinite(hit["t"]), hit["t"], np.nan)
    if not np.isfinite(model).any():
        return np.full((*model.shape, 3), 255, np.uint8)
    low, high = np.nanpercentile(model, (1, 99))
    difference = (view.depth - model) / view.sigma
    return np.hstack([_ramp(view.depth, low, high), _ramp(model, low, high), _signed(difference / 3)])


def _ramp(depth: np.ndarray, low: float, high: float) -> np.ndarray:
    import cv2

    scaled = np.clip(255 * (high - depth) / max(high - low, 1e-9), 0, 255)
    picture = cv2.cvtColor(
        cv2.applyColorMap(np.nan_to_num(scaled).astype(np.uint8), cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB
    )
    return np.where(np.isfinite(depth)[..., None], picture, np.uint8(255))


def _signed(value: np.ndarray) -> np.ndarray:
    v = np.clip(np.nan_to_num(value), -1, 1)[..., None]
    return np.rint(255 * np.concatenate([1 - np.maximum(-v, 0), 1 - np.abs(v), 1 - np.maximum(v, 0)], -1)).astype(
        np.uint8
    )
