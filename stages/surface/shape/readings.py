"""Oriented surface readings: a point, the surface's normal there, and the standard deviation along it. Every kind of evidence becomes one:
depth of the pairs, agreement of colours, outlines of the masks, bundle-adjusted points. Metres, object frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.parallel import ordered_map
from stages.surface.shape.grid import Grid
from stages.surface.views.cameras import hidden_of_eyes
from stages.surface.views.views import View

RIM_BLOCK = 1000
"""outline points whose rays are sampled at once: 60 MB on a grid of 500 voxels a side"""


@dataclass(frozen=True)
class Readings:
    """points (N, 3), normals (N, 3) unit, outward, sigma (N,) metres."""

    points: np.ndarray
    normals: np.ndarray
    sigma: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @staticmethod
    def concatenate(parts: Sequence[Readings]) -> Readings:
        """All of them."""
        return Readings(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("points", "normals", "sigma")))


def depth_offsets(
    views: Sequence[View], points: np.ndarray, normals: np.ndarray, cosine: np.ndarray, gate: float
) -> tuple[np.ndarray, np.ndarray]:
    """(offset, sigma) along the normal that the depth of all views says, robustly; sigma NaN where none does.

    `cosine` (N, 2V) from `cameras.visible`. A reading further than 3 sigma + gate from the surface is another surface. Two rounds of
    Huber weights. Weights fall with the fourth power of sigma: a flat region is wrong in the same way in every view.
    """
    total, weight = np.zeros((2, len(points))), np.zeros((2, len(points)))
    gaps = [_gaps(view, points, cosine[:, 2 * i], gate) for i, view in enumerate(views)]
    centre = None
    for round_ in range(2):
        for index, gap, sigma in gaps:
            w = 1 / (sigma**2 * (1 + (sigma / gate) ** 2))
            if centre is not None:
                w = w * np.minimum(1, sigma / np.maximum(np.abs(gap - centre[index]), 1e-9))
            np.add.at(total[round_], index, w * gap)
            np.add.at(weight[round_], index, w)
        centre = total[round_] / np.maximum(weight[round_], 1e-30)
    sigma = np.where(weight[1] > 0, 1 / np.sqrt(np.maximum(weight[1], 1e-30)), np.nan)
    return np.asarray(centre), sigma


def _gaps(view: View, points: np.ndarray, cosine: np.ndarray, gate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(index of the point, measured minus predicted along the normal (positive = outward), its sigma) of one view."""
    index = np.flatnonzero(cosine > 0)
    x = points[index] @ view.left_from_object[:3, :3].T + view.left_from_object[:3, 3]
    uv = np.rint(view.rig.project(x)).astype(int)
    measured, sigma = view.depth[uv[:, 1], uv[:, 0]], view.sigma[uv[:, 1], uv[:, 0]]
    # along the ray -> along the normal; a ray's length per unit of depth and the cosine of incidence almost cancel for small fields of view
    slope = cosine[index] * np.linalg.norm(x, axis=1) / x[:, 2]
    gap, spread = (x[:, 2] - measured) * slope, sigma * slope
    ok = np.isfinite(gap) & (np.abs(gap) < 3 * spread + gate)
    return index[ok], gap[ok], spread[ok]


def rim_readings(
    views: Sequence[View],
    grid: Grid,
    distance: np.ndarray,
    sigma_px: float,
    gate: float,
    workers: int = 1,
    step_px: int = 2,
) -> Readings:
    """Where the rays through the masks' outlines must touch the surface: their closest approach to the present one.

    The ray of an outline pixel grazes the object, so the signed distance along it has its minimum at zero. `distance` on `grid` is the
    present surface; rays whose minimum is further than `gate` from zero are left out (a wrong mask, another part).
    """
    trusted = [v for v in views if v.trust >= 0.5]
    found = ordered_map(lambda v: _rim_of(v, grid, distance, sigma_px, gate=gate, step_px=step_px), trusted, workers)
    parts = [r for r in found if len(r) > 0]
    return Readings.concatenate(parts) if parts else Readings(np.empty((0, 3)), np.empty((0, 3)), np.empty(0))


def _rim_of(view: View, grid: Grid, distance: np.ndarray, sigma_px: float, gate: float, step_px: int) -> Readings:
    uv = _off_hidden(view, outline_points(view.outline, view.picture_box))[::step_px]
    if len(uv) == 0:
        return Readings(np.empty((0, 3)), np.empty((0, 3)), np.empty(0))
    parts = [
        _grazing(view, uv[a : a + RIM_BLOCK], grid, distance, sigma_px=sigma_px, gate=gate)
        for a in range(0, len(uv), RIM_BLOCK)
    ]
    return Readings.concatenate(parts)


def _grazing(view: View, uv: np.ndarray, grid: Grid, distance: np.ndarray, sigma_px: float, gate: float) -> Readings:
    rays = view.rig.rays(uv) @ view.object_from_left[:3, :3].T
    eye = view.object_from_left[:3, 3]
    corners = np.array(np.meshgrid(*zip(grid.origin, grid.high, strict=True), indexing="ij")).reshape(3, -1).T
    depth = (corners - eye) @ view.object_from_left[:3, 2]
    near, far = max(depth.min(), 0.01), depth.max()
    z = np.linspace(near, far, max(8, int((far - near) / grid.voxel)))
    values = grid.sample(distance, (eye + rays[:, None] * z[:, None]).reshape(-1, 3)).reshape(len(uv), -1)
    inside = np.all(
        (eye + rays[:, None] * z[:, None] >= grid.origin) & (eye + rays[:, None] * z[:, None] <= grid.high), -1
    )
    values = np.where(inside, values, np.inf)
    best = np.argmin(values, 1)
    rows = np.arange(len(uv))
    ok = (np.abs(values[rows, best]) < gate) & (best > 0) & (best < len(z) - 1)
    x = (eye + rays * z[best][:, None])[ok]
    normal = grid.gradient(distance, x)
    along = rays[ok] / np.linalg.norm(rays[ok], axis=1, keepdims=True)
    normal -= np.sum(normal * along, 1, keepdims=True) * along  # the surface is tangent to the ray
    length = np.linalg.norm(normal, axis=1)
    keep = length > 0.3
    return Readings(x[keep], normal[keep] / length[keep, None], (sigma_px * z[best][ok] / view.rig.fx)[keep])


def _off_hidden(view: View, uv: np.ndarray, margin_px: int = 3) -> np.ndarray:
    """The points that do not lie beside something that stands before the object: its edge is not the object's."""
    if view.hidden is None or len(uv) == 0:
        return uv
    hidden = hidden_of_eyes([view], margin_px)[0]
    at = np.rint(uv).astype(int)
    return uv if hidden is None else uv[~hidden[at[:, 1], at[:, 0]]]


def outline_points(outline: np.ndarray, picture_box: tuple[float, float, float, float]) -> np.ndarray:
    """(N, 2) sub-pixel points u, v where the signed distance crosses zero, away from the picture's border (no outline there)."""
    from skimage.measure import find_contours

    found = [c[:, ::-1] for c in find_contours(outline, 0.0) if len(c) >= 12]
    if not found:
        return np.empty((0, 2))
    uv = np.concatenate(found)
    u0, v0, u1, v1 = picture_box
    return uv[(uv[:, 0] > u0 + 2) & (uv[:, 1] > v0 + 2) & (uv[:, 0] < u1 - 2) & (uv[:, 1] < v1 - 2)]


def onto_vertices(
    readings: Readings, vertices: np.ndarray, normals: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """(offset (V,), inverse variance (V,)) of readings at their nearest vertex, within `reach` metres and facing the same way (45 deg)."""
    from scipy.spatial import cKDTree

    total, weight = np.zeros(len(vertices)), np.zeros(len(vertices))
    if len(readings):
        far, index = cKDTree(vertices).query(readings.points, distance_upper_bound=reach)
        ok = np.isfinite(far)
        index, points, facing, sigma = index[ok], readings.points[ok], readings.normals[ok], readings.sigma[ok]
        gap = np.einsum("ij,ij->i", points - vertices[index], normals[index])
        w = np.where(np.einsum("ij,ij->i", facing, normals[index]) > 0.7, 1 / sigma**2, 0.0)
        np.add.at(total, index, w * gap)
        np.add.at(weight, index, w)
    return np.divide(total, weight, out=total, where=weight > 0), weight


def combine(parts: Sequence[tuple[np.ndarray, np.ndarray]], gate: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Inverse-variance mean (offset, weight) of several kinds of evidence per vertex.

    Where a kind disagrees with the surest one by more than `gate` of both their standard deviations it is left out.
    """
    offsets, weights = np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts])
    best = np.argmax(weights, 0)
    reference, spread = (np.take_along_axis(a, best[None], 0)[0] for a in (offsets, 1 / np.maximum(weights, 1e-30)))
    agree = (offsets - reference) ** 2 <= gate**2 * (spread + 1 / np.maximum(weights, 1e-30))
    weights = np.where(agree, weights, 0.0)
    total = weights.sum(0)
    return np.divide((weights * offsets).sum(0), total, out=np.zeros_like(total), where=total > 0), total
