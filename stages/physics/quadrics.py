"""Squared distances in five dimensions, place and texture coordinate, to planes of faces and lines of seams, as sums that can be added."""

from __future__ import annotations

import numpy as np

TEXTURE_WEIGHT = 0.5
"""of a texture that slides along the surface, beside the surface that moves as far"""
SEAM_WEIGHT = 1.0
DIM, ENTRIES = 5, 36
"""a quadric is A (5, 5) row by row, b (5,), c, and fills 31 of its entries; five more of them hold the point"""


def _length_per_uv(point: np.ndarray, faces: np.ndarray, uv: np.ndarray, faces_uv: np.ndarray) -> float:
    c, t = point[faces], uv[faces_uv]
    area = np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1).sum()
    a, b = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    flat = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    return float(np.sqrt(area / max(flat, 1e-12)))


def quadrics(point: np.ndarray, faces: np.ndarray, uv: np.ndarray, faces_uv: np.ndarray) -> np.ndarray:
    """(T, ENTRIES) for points (V, 3) and uv (T, 2), each uv of one vertex: the sum over its faces' planes and its seams' lines, and where
    it lies itself."""
    uv = uv * (TEXTURE_WEIGHT * _length_per_uv(point, faces, uv, faces_uv))
    owner = np.zeros(len(uv), np.int64)
    owner[faces_uv] = faces
    at = np.concatenate([point[owner], uv], 1)
    corner = at[faces_uv]
    area = np.linalg.norm(np.cross(corner[:, 1, :3] - corner[:, 0, :3], corner[:, 2, :3] - corner[:, 0, :3]), axis=1)
    first = _unit(corner[:, 1] - corner[:, 0])
    across = corner[:, 2] - corner[:, 0]
    second = _unit(across - (across * first).sum(1, keepdims=True) * first)
    out = np.zeros((len(uv), ENTRIES))
    plane = _distance_to(corner[:, 0], (first, second)) * (area / 6)[:, None]
    for k in range(3):
        np.add.at(out, faces_uv[:, k], plane)
    for k, seam in enumerate(_seam_sides(faces, faces_uv)):
        a, b = faces_uv[seam, k], faces_uv[seam, (k + 1) % 3]
        step = at[b] - at[a]
        line = _distance_to(at[a], (_unit(step),)) * (SEAM_WEIGHT * (step[:, :3] ** 2).sum(1))[:, None]
        np.add.at(out, a, line)
        np.add.at(out, b, line)
    out[:, 31:] = at
    return out


def _seam_sides(faces: np.ndarray, faces_uv: np.ndarray) -> np.ndarray:
    """(3, F) whether the two faces at that side disagree on the uv, or there is no second one."""
    many = int(faces.max()) + 1
    sides = [(faces[:, k] * many + faces[:, (k + 1) % 3], faces_uv[:, k], faces_uv[:, (k + 1) % 3]) for k in range(3)]
    key, start, end = (np.concatenate(c) for c in zip(*sides, strict=True))
    order = np.argsort(key, kind="stable")
    back = key % many * many + key // many
    found = np.minimum(np.searchsorted(key[order], back), len(key) - 1)
    other = order[found]
    seam = (key[other] != back) | (start[other] != end) | (end[other] != start)
    return seam.reshape(3, -1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)


def _distance_to(at: np.ndarray, along: tuple[np.ndarray, ...]) -> np.ndarray:
    """(N, ENTRIES) quadrics of the squared distance to the flats through `at` (N, 5) along the unit directions (N, 5)."""
    A, b, c = np.tile(np.eye(DIM), (len(at), 1, 1)), -at, (at**2).sum(1)
    for e in along:
        dot = (at * e).sum(1)
        A, b, c = A - e[:, :, None] * e[:, None], b + dot[:, None] * e, c - dot**2
    return np.concatenate([A.reshape(-1, 25), b, c[:, None], np.zeros((len(at), DIM))], 1)
