"""What a model says of a solid, as signed distance on a grid: node (i, j, k) of n lies at -1 + 2 (i, j, k) / (n - 1) in x, y, z of the
room, negative is inside, lengths are in units of the room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.render import Caster

SAMPLES = 60_000
_WAYS = np.array([[1.0, 0.31, 0.17], [-0.23, 1.0, 0.29], [0.19, -0.27, 1.0], [-1.0, -0.37, 0.21], [0.33, -1.0, -0.13]])
"""in which a node looks for the surface; most of them decide whether it is inside"""


@dataclass(frozen=True)
class Samples:
    """points (N, 3) even over a surface, normals (N, 3), face (N,) each lies on, weight (N, 3) of its corners."""

    points: np.ndarray
    normals: np.ndarray
    face: np.ndarray
    weight: np.ndarray


def sampled(vertices: np.ndarray, faces: np.ndarray, count: int, seed: int) -> Samples:
    """Points of a mesh, as many on each face as its area is worth."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    rng = np.random.default_rng(seed)
    face = np.sort(rng.choice(len(faces), count, p=area / area.sum()))
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weight = np.stack([1 - u, u * (1 - v), u * v], 1)
    points = (vertices[faces[face]] * weight[..., None]).sum(1)
    return Samples(points, normal[face] / np.maximum(area[face], 1e-30)[:, None], face, weight)


def nodes(size: int) -> np.ndarray:
    """(size^3, 3) places of the grid's nodes, in the order of its memory."""
    axis = np.linspace(-1, 1, size)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def distance_of_mesh(vertices: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """(size,) * 3 of a closed mesh, faces counter-clockwise from outside. Raises ValueError where it is not closed."""
    from scipy.spatial import cKDTree

    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    if (np.unique(edges, axis=0, return_counts=True)[1] != 2).any():
        raise ValueError("the mesh is not closed")
    x = nodes(size)
    found = cKDTree(sampled(vertices, faces, SAMPLES, 0).points).query(x)[0]
    caster, votes = Caster(vertices, faces), np.zeros(len(x))
    for way in _WAYS:
        hit = caster.cast(x, np.broadcast_to(way, x.shape))
        votes += (hit["face"] >= 0) & ((hit["normal"] @ way) > 0)
    return np.where(votes > len(_WAYS) / 2, -found, found).reshape(size, size, size)


def at(grid: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(N,) or (N, C): trilinear values of a grid (n, n, n) or (C, n, n, n) at places (N, 3) of the room."""
    from scipy.ndimage import map_coordinates

    where = (x.T + 1) / 2 * (grid.shape[-1] - 1)
    if grid.ndim == 4:
        return np.stack([map_coordinates(g, where, order=1, mode="nearest") for g in grid], 1)
    return map_coordinates(grid, where, order=1, mode="nearest")
