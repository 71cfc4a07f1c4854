"""How far two surfaces lie apart: the mesh and the surface of a union of convex parts, measured both ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.physics.shapes import Shape

NEIGHBOURS = 6
"""nearest samples whose faces are looked at exactly; samples lie denser than the distances that matter"""
STEP_M = 1e-4
"""neighbours share a face where the shape was cut; with gaps below this they still count as joined"""


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


def union_surface(parts: list[Shape], count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) on the parts from which one step outward leaves all of them, and the corners (N, 3, 3) of the face of each."""
    area = np.array([p.area for p in parts])
    points, corners = [], []
    for k, part in enumerate(parts):
        own, face = samples(part, max(60, round(count * area[k] / area.sum())), seed + k)
        corner = part.vertices[part.faces[face]]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        outside = own + STEP_M * normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
        keep = np.ones(len(own), bool)
        for j, other in enumerate(parts):
            if j != k:
                keep &= ~inside(outside, other)
        points.append(own[keep])
        corners.append(corner[keep])
    return np.concatenate(points), np.concatenate(corners)


def inside(points: np.ndarray, part: Shape) -> np.ndarray:
    """(N,) whether the points lie inside the convex part."""
    low, high = part.vertices.min(0), part.vertices.max(0)
    found = ((points > low) & (points < high)).all(1)
    if found.any():
        normal, offset = part.planes
        found[found] = (points[found] @ normal.T < offset).all(1)
    return found


def distances(points: np.ndarray, on: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N,) distance of the points to the surface whose samples `on` (M, 3) lie on the triangles `corners` (M, 3, 3)."""
    from scipy.spatial import cKDTree

    near = cKDTree(on).query(points, min(NEIGHBOURS, len(on)))[1].reshape(len(points), -1)
    return np.stack([to_triangle(points, corners[near[:, k]]) for k in range(near.shape[1])]).min(0)


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


def between(mesh: Shape, parts: list[Shape], count: int = 20000) -> SurfaceDistance:
    """Mean and largest distance of the mesh from the union's surface and back, each from `count` samples over its area."""
    own, face = samples(mesh, 2 * count)
    union, corners = union_surface(parts, 2 * count)
    if not len(union):
        return SurfaceDistance(float("inf"), float("inf"))
    pick, pick_union = own[::2], union[:: max(1, len(union) // count)]
    there = distances(pick, union, corners)
    back = distances(pick_union, own, mesh.vertices[mesh.faces[face]])
    return SurfaceDistance(float((there.mean() + back.mean()) / 2), float(max(there.max(), back.max())))
