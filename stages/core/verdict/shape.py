"""What a mesh alone says: whether it is closed, where its rim runs, how much of it is missing or was seen by nobody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.geometry.directions import sphere, unit

SEEN_WITHIN_DEG = 70.0
"""surface that is turned further away from every camera than this counts as not seen from any side: depth is of no use there"""
_DIRECTIONS = 2000


@dataclass(frozen=True)
class Rim:
    """The border of an open mesh. segments (N, 2, 3) metres."""

    segments: np.ndarray

    @property
    def length_m(self) -> float:
        """Of all borders together."""
        return float(np.linalg.norm(self.segments[:, 1] - self.segments[:, 0], axis=1).sum())


def rim_of(vertices: np.ndarray, faces: np.ndarray) -> Rim:
    """Edges that one face has and no other: none where the mesh is closed. vertices (V, 3), faces (F, 3)."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, first, count = np.unique(
        edges[:, 0] * np.int64(len(vertices)) + edges[:, 1], return_index=True, return_counts=True
    )
    return Rim(vertices[edges[first[count == 1]]].reshape(-1, 2, 3))


def hole_area(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Least area that would close the mesh, m2: the face normals of a closed surface add up to nothing, what is missing is their sum.

    Exact for one flat hole; holes that face each other cancel, so it is a lower bound.
    """
    return float(np.linalg.norm(_area_vectors(vertices, faces).sum(0)))


def areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) m2."""
    return np.linalg.norm(_area_vectors(vertices, faces), axis=1)


def directions_unseen(eyes: np.ndarray, centre: np.ndarray) -> tuple[float, np.ndarray | None]:
    """Share of all directions that surface may face and no camera looked at, and the middle of them (3,) unit (None if there are none).

    `eyes` (N, 3) camera centres round `centre` (3,). A full turn at 20 degrees above leaves the 12 % that face down.
    """
    towards = unit(eyes - centre)
    normals = sphere(_DIRECTIONS)
    unseen = normals[(normals @ towards.T).max(1) < np.cos(np.radians(SEEN_WITHIN_DEG))]
    middle = unseen.mean(0) if len(unseen) else np.zeros(3)
    length = np.linalg.norm(middle)
    return len(unseen) / len(normals), middle / length if length > 0.2 else None


def _area_vectors(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a) / 2
