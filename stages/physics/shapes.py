"""A closed triangle mesh as the stage handles it, and why one is not closed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Shape:
    """vertices (V, 3) float64 metres, faces (F, 3) int64 counter-clockwise seen from outside."""

    vertices: np.ndarray
    faces: np.ndarray

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit normals (F, 3) outward and offsets (F,): inside a convex shape n.x < offset. Of a face without area: 0 and infinity."""
        c = self.vertices[self.faces]
        normal = np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0])
        length = np.linalg.norm(normal, axis=1)
        flat = length < 1e-16
        normal = np.where(flat[:, None], 0.0, normal / np.maximum(length, 1e-30)[:, None])
        return normal, np.where(flat, np.inf, (normal * c[:, 0]).sum(1))

    @cached_property
    def area(self) -> float:
        """Square metres."""
        c = self.vertices[self.faces]
        return float(np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1).sum() / 2)

    @property
    def size(self) -> float:
        """Longest side of the box round it, metres."""
        return float(np.ptp(self.vertices, axis=0).max())

    def moved(self, b_from_a: np.ndarray) -> Shape:
        """In another frame."""
        from stages.core.geometry.rigid import transform

        return Shape(transform(b_from_a, self.vertices), self.faces)


def open_edges(faces: np.ndarray) -> int:
    """Directed edges without exactly one partner that runs the other way; 0 for a closed, oriented mesh."""
    edge = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    if not len(edge):
        return 1
    count = int(faces.max()) + 1
    forward, backward = np.sort(edge[:, 0] * count + edge[:, 1]), np.sort(edge[:, 1] * count + edge[:, 0])
    partner = backward[np.minimum(np.searchsorted(backward, forward), len(backward) - 1)]
    return int((partner != forward).sum() + (np.diff(forward) == 0).sum())


def convex_hull(points: np.ndarray, most_vertices: int = 0) -> Shape:
    """The hull of the points (N, 3), outward faces; with `most_vertices` > 0 of no more of its vertices.

    Raises ValueError where the points lie in a plane.
    """
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(points)
        if most_vertices and len(hull.vertices) > most_vertices:
            hull = ConvexHull(_spread(points[hull.vertices], most_vertices))
    except QhullError as e:
        raise ValueError("the points lie in a plane") from e
    used, renumbered = np.unique(hull.simplices, return_inverse=True)
    vertices, faces = hull.points[used], renumbered.reshape(-1, 3)
    c = vertices[faces]
    inward = (np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]) * hull.equations[:, :3]).sum(1) < 0
    faces = np.where(inward[:, None], faces[:, ::-1], faces)
    return Shape(vertices, faces.astype(np.int64))


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """`count` of the points of a hull, chosen one after the other: from the extremes along the axes and diagonals, always those farthest
    outside the hull of the chosen ones."""
    from scipy.spatial import ConvexHull

    axes = np.array(
        [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) != (0, 0, 0)], float
    )
    chosen = np.unique((points @ axes.T).argmax(0))[:count]
    while len(chosen) < count:
        plane = ConvexHull(points[chosen]).equations
        outside = points @ plane[:, :3].T + plane[:, 3]
        farthest = outside.argmax(0)
        order = farthest[np.argsort(-outside.max(0), kind="stable")]
        new = [k for k in dict.fromkeys(order.tolist()) if k not in set(chosen.tolist())][
            : min(max(1, count // 16), count - len(chosen))
        ]
        if not new:
            break
        chosen = np.append(chosen, new)
    return points[chosen]
