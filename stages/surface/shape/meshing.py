"""From a distance field to the mesh that is handed on: only what was seen or safely closed, no crumbs, a confidence per vertex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.core.render import Caster
from stages.surface.shape.evolve import vertex_normals
from stages.surface.shape.grid import Grid
from stages.surface.shape.initial import surrounded
from stages.surface.views.cameras import blocks, visible
from stages.surface.views.views import View


@dataclass(frozen=True)
class Mesh:
    """vertices (V, 3) metres, faces (F, 3) outward, confidence (V,) 0-1, seen (V,) number of left cameras that see the vertex."""

    vertices: np.ndarray
    faces: np.ndarray
    confidence: np.ndarray
    seen: np.ndarray


def marching(distance: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(vertices (V, 3), faces (F, 3) int64, outward) of the zero set (Lorensen and Cline 1987, Lewiner's tables)."""
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(distance, 0.0)
    return vertices.astype(np.float64) * grid.voxel + grid.origin, faces.astype(np.int64)


class ReadSurface(Protocol):
    """A mesh as it was read: `rounds.Shape`, `tsdf.TsdfSurface`."""

    @property
    def vertices(self) -> np.ndarray:
        """(V, 3) metres."""
        ...

    @property
    def faces(self) -> np.ndarray:
        """(F, 3), outward."""
        ...

    @property
    def read_at(self) -> np.ndarray:
        """(N, 3) places that were read."""
        ...

    @property
    def read_sigma(self) -> np.ndarray:
        """(N,) how surely, metres; inf = nothing read there."""
        ...


def keep_supported(
    surface: ReadSurface, views: Sequence[View], footprint: float, least_part: float, workers: int
) -> Mesh:
    """Cut what nobody saw and nothing closes, drop crumbs, rate the rest.

    Unseen surface is kept only when cameras looked from opposite sides (so the hull bounds it); else only next to seen surface.
    Parts whose seen area is less than `least_part` of the largest part's are crumbs.
    """
    vertices, faces = surface.vertices, surface.faces
    normals = vertex_normals(vertices, faces)
    caster = Caster(vertices, faces)
    looks = [
        visible(caster, views, vertices[b], normals[b], least_cosine=0.1, slack=3 * footprint, workers=workers)[:, ::2]
        > 0
        for b in blocks(len(vertices))
    ]
    seen = np.concatenate([look.sum(1) for look in looks])
    keep = (
        np.ones(len(faces), bool)
        if surrounded(views, vertices.mean(0))
        else _near_seen(vertices, seen, 6 * footprint)[faces].all(1)
    )
    keep &= _parts(vertices, faces, seen, keep, least=least_part)
    used = np.unique(faces[keep])
    number = np.full(len(vertices), -1)
    number[used] = np.arange(len(used))
    vertices, faces, seen = vertices[used], number[faces[keep]], seen[used]
    return Mesh(
        vertices, faces, _confidence(vertices, seen, surface.read_at, surface.read_sigma, footprint=footprint), seen
    )


def _near_seen(vertices: np.ndarray, seen: np.ndarray, reach: float) -> np.ndarray:
    from scipy.spatial import cKDTree

    if not (seen > 0).any():
        return np.zeros(len(vertices), bool)
    return cKDTree(vertices[seen > 0]).query(vertices, distance_upper_bound=reach)[0] < reach


def _parts(vertices: np.ndarray, faces: np.ndarray, seen: np.ndarray, keep: np.ndarray, least: float) -> np.ndarray:
    """(F,) bool: the face belongs to a connected part with enough seen area."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    f = faces[keep]
    edges = np.concatenate([f[:, :2], f[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, part = connected_components(graph, directed=False)
    corner = vertices[faces]
    area = (
        np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
        * (seen[faces] > 0).mean(1)
        * keep
    )
    total = np.bincount(part[faces[:, 0]], area, part.max() + 1)
    return total[part[faces[:, 0]]] >= max(least * total.max(), 1e-30)


def _confidence(
    vertices: np.ndarray, seen: np.ndarray, read_at: np.ndarray, read_sigma: np.ndarray, footprint: float
) -> np.ndarray:
    """1 where many views read the surface to a fraction of a pixel; about 0.2 where it is interpolated; 0 where nobody looked."""
    from scipy.spatial import cKDTree

    nearest = cKDTree(read_at).query(vertices, k=4)[1]
    information = np.mean(1 / np.maximum(read_sigma[nearest], 1e-9) ** 2, 1) * footprint**2
    read = information / (information + 0.5)
    return np.where(seen > 0, (0.2 + 0.8 * read) * np.minimum(1.0, seen / 3), 0.0)
