"""The unseen sides of the object by a generative model, joined to what was measured: the measured surface stays where it is, the model's is
bent to meet it, and what the pictures show to be empty stays empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.errors import StageError
from stages.core.meshes import SurfaceMesh
from stages.generate.scene import Room
from stages.generate.solid import at, nodes, sampled

SEEN_SAMPLES = 40_000
NEIGHBOURS = 8
BENDING = 2000
"""points of the measured surface by which the model's is bent"""
REACH = 0.3
"""how far the model's surface is bent along with its error at the measured one, units of the room"""
MOST_OFF = 0.12
"""median distance of the measured surface from the model's, units of the room; beyond it the model speaks of another frame or object"""
NEAR, FAR = 1.5, 3.5
"""cells from the measured surface: within the first the field is its own, beyond the second the model's"""
ALIKE = 0.3
"""cosine between normals of the measured surface and of one that counts as it"""
SLACK_PX = 2.0
MOST_PICTURES = 40


@dataclass(frozen=True)
class Measured:
    """The part of the twin's mesh that cameras saw, in units of the room."""

    points: np.ndarray
    normals: np.ndarray

    @staticmethod
    def of(mesh: SurfaceMesh, room: Room) -> Measured:
        """Raises StageError where no camera saw any of it."""
        seen = (mesh.confidence > 0)[mesh.faces].all(1)
        if not seen.any():
            raise StageError(
                "no part of the surface was seen by a camera, so there is nothing to complete",
                "see the report of surface",
            )
        found = sampled((mesh.vertices - room.centre) / room.half, mesh.faces[seen], SEEN_SAMPLES, 0)
        return Measured(found.points, found.normals)


@dataclass(frozen=True)
class Completed:
    """vertices (V, 3) of the object frame, faces (F, 3), invented (V,) bool; off: median distance of the measured surface from the model's
    own, before it was bent, units of the room; dropped: pieces of the model's that touch nothing measured."""

    vertices: np.ndarray
    faces: np.ndarray
    invented: np.ndarray
    off: float
    dropped: int


class Nearby:
    """Looks up the measured surface."""

    def __init__(self, measured: Measured) -> None:
        from scipy.spatial import cKDTree

        self.measured, self.tree = measured, cKDTree(measured.points)

    def invented(self, x: np.ndarray, normals: np.ndarray, cell: float) -> np.ndarray:
        """(N,) bool: a place (N, 3) of the room with that normal is not on the measured surface."""
        away, nearest = self.tree.query(x)
        return (away > NEAR * cell) | ((self.measured.normals[nearest] * normals).sum(1) < ALIKE)


def complete(
    distance: np.ndarray, measured: Measured, room: Room, size: int, empty: Callable[[np.ndarray], np.ndarray]
) -> Completed:
    """From the model's signed distance (n, n, n); `size` of the grid worked on; empty((N, 3) of the room): how far outside the silhouettes,
    0 = nobody knows. Raises StageError for an answer that does not fit what was measured."""
    from skimage.measure import marching_cubes

    error = at(distance, measured.points)
    off = float(np.median(np.abs(error)))
    if not off <= MOST_OFF:
        raise StageError(
            f"the model's solid lies {100 * off / 2:.0f} % of the room's width beside the measured surface, at the median",
            "its frame, axes or unit are not the contract's (docs/generated.md), or it shows another object",
        )
    cell, near = 2 / (size - 1), Nearby(measured)
    field = _joined(distance, error, near, size, cell=cell, empty=empty).reshape(size, size, size)
    if not field.min() < 0 < field.max():
        raise StageError(
            "the model's solid and what the pictures show have nothing in common", "generate.completion=none"
        )
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(cell,) * 3)
    vertices = vertices - 1
    invented = near.invented(vertices, vertex_normals(vertices, faces), cell)
    kept, dropped = _pieces(faces, len(vertices), ~invented)
    used, renamed = np.unique(faces[kept], return_inverse=True)
    return Completed(
        vertices[used] * room.half + room.centre, renamed.reshape(-1, 3), invented[used], off, dropped=dropped
    )


def _joined(
    distance: np.ndarray,
    error: np.ndarray,
    near: Nearby,
    size: int,
    cell: float,
    empty: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """(size^3,) signed distance: the measured surface's own near it; elsewhere the model's less its error there, carved by the pictures."""
    from scipy.spatial import cKDTree

    x = nodes(size)
    field, weight = at(distance, x), np.zeros(len(x))
    away, _ = near.tree.query(x, distance_upper_bound=2.5 * REACH)
    bent = np.flatnonzero(np.isfinite(away))
    few = slice(None, None, max(1, len(error) // BENDING))
    index, mean = _neighbours(cKDTree(near.measured.points[few]), x[bent], cell)
    field[bent] -= mean(error[few][index]) * np.exp(-((away[bent] / REACH) ** 2))
    outside = empty(x)
    field = np.where(outside > 0, np.maximum(field, outside), field)
    close = np.flatnonzero(away < FAR * cell)
    index, mean = _neighbours(near.tree, x[close], cell)
    plane = mean(((x[close][:, None] - near.measured.points[index]) * near.measured.normals[index]).sum(2))
    t = np.clip((FAR * cell - away[close]) / ((FAR - NEAR) * cell), 0, 1)
    weight[close] = t * t * (3 - 2 * t)
    field[close] = weight[close] * plane + (1 - weight[close]) * field[close]
    rim = (np.abs(x) > 1 - 0.5 * cell).any(1)
    return np.where(rim, np.maximum(field, 0.5 * cell), field)


def _neighbours(tree: Any, x: np.ndarray, cell: float) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """((N, NEIGHBOURS) of the tree's points, a mean over them that heeds the nearest most)."""
    far, index = tree.query(x, k=NEIGHBOURS)
    w = 1 / np.maximum(far, 0.1 * cell) ** 2
    return index, lambda v: (v * w).sum(1) / w.sum(1)


def silhouettes(
    poses: Mapping[int, np.ndarray],
    rig: Rig,
    mask: Callable[[int], np.ndarray],
    hidden: Callable[[int], np.ndarray | None],
    room: Room,
) -> Callable[[np.ndarray], np.ndarray]:
    """The `empty` of `complete`: places that some picture shows beside the object."""
    frames = sorted(poses)[:: max(1, -(-len(poses) // MOST_PICTURES))]
    maps = []
    for k in frames:
        covered = mask(k) if (before := hidden(k)) is None else mask(k) | before
        maps.append((poses[k], cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5)))

    def empty(x: np.ndarray) -> np.ndarray:
        out = np.zeros(len(x))
        points = x * room.half + room.centre
        for pose, beside in maps:
            here = (points - pose[:3, 3]) @ pose[:3, :3]
            uv = np.nan_to_num(rig.project(here), nan=-1.0)
            at_px = np.clip(np.rint(uv), -1, max(rig.width, rig.height)).astype(int)
            inside = (here[:, 2] > 0) & (at_px >= 0).all(1) & (at_px[:, 0] < rig.width) & (at_px[:, 1] < rig.height)
            px = np.zeros(len(x))
            px[inside] = beside[at_px[inside, 1], at_px[inside, 0]] - SLACK_PX
            out = np.maximum(out, np.maximum(px, 0) * here[:, 2] / rig.fx / room.half)
        return out

    return empty


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit, by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    n = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(n, faces[:, k], np.cross(b - a, c - a))
    return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-30)


def _pieces(faces: np.ndarray, count: int, measured: np.ndarray) -> tuple[np.ndarray, int]:
    """((F,) bool faces of pieces that hold something measured, how many others there are)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    total, label = connected_components(
        coo_matrix((np.ones(len(pairs)), pairs.T), shape=(count, count)), directed=False
    )
    good = np.zeros(total, bool)
    good[label[measured]] = True
    return good[label[faces[:, 0]]], int(total - good.sum())


def invented_share(vertices: np.ndarray, faces: np.ndarray, invented: np.ndarray) -> float:
    """Of the area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return float((area * invented[faces].mean(1)).sum() / max(area.sum(), 1e-30))
