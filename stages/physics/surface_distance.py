"""How far two surfaces lie apart: the mesh and the surface of a union of convex parts, measured both ways."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from stages.physics.shapes import Shape

NEIGHBOURS = 8
"""nearest samples whose faces are looked at exactly; samples lie denser than the distances that matter"""
STEP_M = 1e-4
"""neighbours share a face where the shape was cut; with gaps below this they still count as joined"""
DOUBTFUL_M = 5e-4
"""only points that lie farther from the mesh are asked whether they lie in a slit"""
RAYS, RAY_M, OPEN_SHARE = 48, 0.004, 0.15
"""directions outward, their length, and the share that must meet no part: else the point lies in a slit or a void between parts, which
nothing can touch. Between two walls s apart a share of s / RAY_M meets none: slits below 0.6 mm are none"""


@dataclass(frozen=True)
class SurfaceDistance:
    """Over both directions, metres."""

    mean_m: float
    max_m: float


def samples(shape: Shape, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, 3) points spread evenly over the area and (count,) the face of each; corners of faces are not in it."""
    rng = np.random.default_rng(seed)
    corner = shape.vertices[shape.faces]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    ends = np.cumsum(area)
    at = (np.arange(count) + rng.random(count)) / count * ends[-1]
    face = np.minimum(np.searchsorted(ends, at, side="right"), len(ends) - 1)
    a, b = rng.random((2, count, 1))
    flip = a + b > 1
    a, b = np.where(flip, 1 - a, a), np.where(flip, 1 - b, b)
    c = corner[face]
    return c[:, 0] + a * (c[:, 1] - c[:, 0]) + b * (c[:, 2] - c[:, 0]), face


@dataclass(frozen=True)
class UnionSurface:
    """points (N, 3) on the parts from which one step outward leaves all; of each the corners (N, 3, 3) of its face, and its part (N,)."""

    points: np.ndarray
    corners: np.ndarray
    part: np.ndarray


def union_surface(parts: list[Shape], count: int, seed: int = 0) -> UnionSurface:
    """About `count` points, spread over the area of the parts."""
    area = np.array([p.area for p in parts])
    points, corners, owner = [], [], []
    for k, part in enumerate(parts):
        own, face = samples(part, max(60, round(count * area[k] / area.sum())), seed + k)
        corner = part.vertices[part.faces[face]]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        outside = own + STEP_M * normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
        keep = np.ones(len(own), bool)
        for j, other in enumerate(parts):
            if j != k:
                keep[keep] = ~inside(outside[keep], other)
        points.append(own[keep])
        corners.append(corner[keep])
        owner.append(np.full(int(keep.sum()), k))
    return UnionSurface(np.concatenate(points), np.concatenate(corners), np.concatenate(owner))


def inside(points: np.ndarray, part: Shape) -> np.ndarray:
    """(N,) whether the points lie inside the convex part."""
    low, high = part.vertices.min(0), part.vertices.max(0)
    found = ((points > low) & (points < high)).all(1)
    if found.any():
        normal, offset = part.planes
        found[found] = (points[found] @ normal.T < offset).all(1)
    return found


def open_to_outside(points: np.ndarray, corners: np.ndarray, parts: list[Shape]) -> np.ndarray:
    """(N,) of points (N, 3) on faces (N, 3, 3) of the parts: whether there is room before them."""
    if not len(points):
        return np.zeros(0, bool)
    from stages.core.render import Caster

    first = np.cumsum([0, *(len(p.vertices) for p in parts)])
    every = Caster(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + k for p, k in zip(parts, first, strict=False)]),
    )
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    directions = np.random.default_rng(0).normal(size=(len(points), RAYS, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    directions *= np.where((directions * normal[:, None]).sum(2, keepdims=True) < 0, -1.0, 1.0)
    hit = every.cast((points + STEP_M / 2 * normal)[:, None], directions)
    return (hit["t"] > RAY_M).mean(1) >= OPEN_SHARE


class Surface:
    """Distances to a surface of triangles, of each of which at least one point is known."""

    def __init__(self, points: np.ndarray, corners: np.ndarray) -> None:
        """`points` (M, 3) on the triangles `corners` (M, 3, 3)."""
        from scipy.spatial import cKDTree

        self._tree, self._corners, self._count = cKDTree(points), corners, len(points)

    def near(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) distances and (N,) which of the surface's points is the nearest."""
        nearest = self._tree.query(points, min(NEIGHBOURS, self._count))[1].reshape(len(points), -1)
        return np.stack([to_triangle(points, self._corners[nearest[:, k]]) for k in range(nearest.shape[1])]).min(
            0
        ), nearest[:, 0]


NEARLY = 0.8
"""of the farthest point: others that are counted with it"""


class Ruler:
    """Measures unions of parts against one mesh."""

    def __init__(self, mesh: Shape, count: int = 20000) -> None:
        """`count` samples each way. The middle of every face is among the mesh's points: small faces between samples are not missed."""
        points, face = samples(mesh, 2 * count)
        corner = mesh.vertices[mesh.faces]
        self._count, self._own = count, points[::2]
        self._mesh = Surface(np.concatenate([points, corner.mean(1)]), np.concatenate([corner[face], corner]))

    def rougher(self, count: int) -> Ruler:
        """The same with `count` samples each way."""
        out = copy(self)
        out._count, out._own = count, self._own[:: max(1, len(self._own) // count)]
        return out

    def to_mesh(self, points: np.ndarray) -> np.ndarray:
        """(N,) of points (N, 3)."""
        return self._mesh.near(points)[0]

    def distance(self, parts: list[Shape]) -> SurfaceDistance:
        """Mean and largest distance, both ways."""
        return self.by_part(parts)[0]

    def by_part(self, parts: list[Shape]) -> tuple[SurfaceDistance, np.ndarray, np.ndarray]:
        """And the largest distance (P,) that each part has a share in, and the points (K, 3) of the union nearly as far from the mesh as
        the farthest."""
        union, worst = union_surface(parts, 2 * self._count), np.zeros(len(parts))
        if not len(union.points):
            return SurfaceDistance(float("inf"), float("inf")), worst + np.inf, union.points
        there, nearest = Surface(union.points, union.corners).near(self._own)
        thin = slice(None, None, max(1, len(union.points) // self._count))
        back = self.to_mesh(union.points[thin])
        far = np.flatnonzero(back > DOUBTFUL_M)
        back[far[~open_to_outside(union.points[thin][far], union.corners[thin][far], parts)]] = 0.0
        np.maximum.at(worst, union.part[nearest], there)
        np.maximum.at(worst, union.part[thin], back)
        distance = SurfaceDistance(float((there.mean() + back.mean()) / 2), float(max(there.max(), back.max())))
        return distance, worst, union.points[thin][back > NEARLY * back.max()]


def between(mesh: Shape, parts: list[Shape], count: int = 20000) -> SurfaceDistance:
    """Mean and largest distance of the mesh from the union's surface and back, each from `count` samples over its area."""
    return Ruler(mesh, count).distance(parts)


def to_triangle(p: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N,) exact distance of each point to its triangle (N, 3, 3)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    unit = normal / np.maximum(length, 1e-30)
    height = ((p - a) * unit).sum(1)
    sides = ((a, b), (b, c), (c, a))
    inside = np.all([(np.cross(q - o, p - o) * normal).sum(1) >= 0 for o, q in sides], axis=0) & (length[:, 0] > 0)
    edge = np.min([_to_segment(p, o, q) for o, q in sides], axis=0)
    return np.where(inside, np.abs(height), edge)


def _to_segment(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    d = b - a
    t = np.clip(((p - a) * d).sum(1) / np.maximum((d * d).sum(1), 1e-30), 0, 1)
    return np.linalg.norm(p - a - t[:, None] * d, axis=1)
