"""The first surface: the visual hull of the masks, carved where confident depth saw through it. Closed, no inner shells or floaters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.surface.fusion import fuse
from stages.surface.grid import Grid
from stages.surface.views import View


def initial_distance(views: Sequence[View], grid: Grid, footprint: float, hull_rank: int, workers: int) -> np.ndarray:
    """(I, J, K) float32 signed distance, metres, positive outside.

    `footprint` is the size of a pixel on the object. Depth may carve only where its readings together are surer than one footprint,
    and only readings surer than four footprints count: what carves a hole by mistake is hard to close again.
    """
    sure = [_confident(v, 4 * footprint) for v in views]
    fused = fuse(sure, grid, max(18 * footprint, 2 * grid.voxel), footprint, 1.5 * footprint, hull_rank, workers)
    far = 4 * grid.voxel
    distance = np.clip(fused.hull, -far, far)
    carving = fused.weight > 3 / footprint**2
    distance = np.where(carving, np.maximum(distance, np.minimum(fused.distance, far)), distance)
    return closed(_blurred(distance), grid.voxel)


def closed(distance: np.ndarray, voxel: float) -> np.ndarray:
    """The field with the grid's border outside and every cavity that the outside does not reach filled."""
    from scipy.ndimage import label

    out = distance.copy()
    for axis in range(3):
        for end in (0, -1):
            face = np.moveaxis(out, axis, 0)[end]
            np.maximum(face, voxel, out=face)
    regions, _ = label(out > 0)
    tiny = np.float32(1e-3 * voxel)
    return np.where(regions == regions[0, 0, 0], np.maximum(out, tiny), np.minimum(out, -tiny)).astype(np.float32)


def _blurred(distance: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(distance, 1.0).astype(np.float32)


def _confident(view: View, limit: float) -> View:
    from dataclasses import replace

    return replace(view, depth=np.where(view.sigma < limit, view.depth, np.float32(np.nan)))
