"""The first surface: the visual hull of the masks, carved where confident depth saw through it. Closed, no inner shells or floaters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stages.surface.shape.fusion import Fused, Voting, fuse
from stages.surface.shape.grid import Grid
from stages.surface.shape.hollows import probability_empty
from stages.surface.views.views import View

BORNE_OUT = 0.2
"""share of a separate part's surface on which readings must have stopped, or that most views have in their picture"""
OFTEN_SEEN = 0.6


def initial_distance(views: Sequence[View], grid: Grid, footprint: float, hull_rank: int, workers: int) -> np.ndarray:
    """(I, J, K) float32 signed distance, metres, positive outside.

    Where the hull is loose (few directions, hollows) the votes of the readings decide: a place is empty when at least three saw through it
    well inside their outlines and twice as many as stopped there (so the mouth of a cup opens, and what is seen at outlines wears nothing
    away), and the surface lies where three or more stopped.
    `footprint` is the size of a pixel on the object. Depth may carve only where its readings together are surer than one footprint,
    and only readings surer than 16 footprints vote (four where the hull is no help): what carves a hole by mistake is hard to close again.
    """
    around = surrounded(views, (grid.origin + grid.high) / 2)
    sure = [_confident(v, 16 * footprint) if around else _filled(_confident(v, 4 * footprint)) for v in views]
    skin = 2 * grid.voxel if around else 0.0
    voting = Voting(max(18 * footprint, 2 * grid.voxel), footprint, 1.5 * footprint, skin)
    fused = fuse(sure, grid, voting, hull_rank, workers=workers)
    far = 4 * grid.voxel
    distance = np.clip(fused.hull, -far, far)
    carving = fused.weight > 3 / footprint**2
    distance = np.where(carving, np.maximum(distance, np.minimum(fused.distance, far)), distance)
    loose, known = fused.hull < -skin, fused.weight > 0
    empty = (fused.through >= 3) & fused.seen_past
    distance = np.where((fused.hull < 0) & known & empty, np.clip(fused.distance, 0.5 * grid.voxel, far), distance)
    distance = np.where(
        loose & known & ~empty & (fused.beside >= 3), np.maximum(distance, np.minimum(fused.distance, 0)), distance
    )
    if around:
        distance = _hollowed(distance, fused, loose, far)
    return borne_out(
        closed(_blurred(distance), grid.voxel), (fused.beside >= 3) | (fused.looked > OFTEN_SEEN), grid.voxel
    )


def _hollowed(distance: np.ndarray, fused: Fused, loose: np.ndarray, far: float) -> np.ndarray:
    """The distance with every hollow that was carved into the hull widened to where it probably ends. Places are of the object where
    three readings or more met it, two voxels deep, and in the hull's skin."""
    voxel = fused.grid.voxel
    empty = distance > 0
    if not (empty & loose).any():
        return distance
    met = (fused.beside >= 3) & (fused.distance < voxel) & (fused.distance > -2 * voxel)
    solid = ~empty & (~loose | met)
    probability = probability_empty(empty, solid, np.where(fused.seen_past, fused.through, 0))
    return np.where(~empty & ~solid, np.maximum(distance, far * (2 * probability - 1)), distance)


def closed(distance: np.ndarray, voxel: float) -> np.ndarray:
    """The field with the grid's border outside and every cavity that the outside does not reach filled."""
    from scipy.ndimage import label

    out = distance.copy()
    for axis in range(3):
        for end in (0, -1):
            face = np.moveaxis(out, axis, 0)[end]
            np.maximum(face, voxel, out=face)
    regions = np.asarray(label(out > 0)[0])  # type: ignore[index]
    tiny = np.float32(1e-3 * voxel)
    return np.where(regions == regions[0, 0, 0], np.maximum(out, tiny), np.minimum(out, -tiny)).astype(np.float32)


def borne_out(distance: np.ndarray, met: np.ndarray, voxel: float) -> np.ndarray:
    """The field without separate parts on whose surface readings hardly ever stopped and that few pictures show (`met`, bool per voxel, is
    either): what outlines leave over at the borders of pictures. The largest part stays, and so does every other that was seen."""
    from scipy.ndimage import label

    parts, count = label(distance < 0)  # type: ignore[misc]
    if count < 2:
        return distance
    shell = (distance < 0) & (distance > -1.5 * voxel)
    total, seen = (np.bincount(parts[where], minlength=count + 1) for where in (shell, shell & met))
    bare = seen < BORNE_OUT * total
    bare[[0, int(np.bincount(parts[parts > 0]).argmax())]] = False
    return np.where(bare[parts], np.float32(voxel), distance)


def surrounded(views: Sequence[View], centre: np.ndarray) -> bool:
    """Whether two cameras looked at the centre from directions at least 120 degrees apart, so that the hull bounds the object all round."""
    d = np.array([v.object_from_left[:3, 3] - centre for v in views])
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    return bool((d @ d.T).min() < np.cos(np.radians(120)))


def _filled(view: View) -> View:
    """Every pixel of the mask without depth takes that of the nearest pixel with one: looked at from one side only, the hull reaches to the
    cameras, and what no depth carves would stand as pillars before the surface."""
    from scipy.ndimage import distance_transform_edt

    known = np.isfinite(view.depth)
    if not known.any():
        return view
    v, u = np.asarray(distance_transform_edt(~known, return_distances=False, return_indices=True))
    inside = view.outline > 0
    nan = np.float32(np.nan)
    return replace(view, depth=np.where(inside, view.depth[v, u], nan), sigma=np.where(inside, view.sigma[v, u], nan))


def _blurred(distance: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(distance, 1.0).astype(np.float32)


def _confident(view: View, limit: float) -> View:
    return replace(view, depth=np.where(view.sigma < limit, view.depth, np.float32(np.nan)))
