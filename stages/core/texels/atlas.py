"""Which point of the surface each texel stands for.

Texel (row r, column c) of a texture of `size` has its centre at u = (c + 0.5) / size, v = 1 - (r + 0.5) / size (origin bottom-left).
A texel just outside a chart (its gutter) stands for the point on the plane of the nearest triangle: coloured like any other texel it
makes bilinear look-ups right up to the chart's edge, which is what keeps seams invisible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

GUTTER_PX = 2.0


@dataclass(frozen=True)
class Texels:
    """The M texels that stand for surface points: index (M,) int64 into the flattened texture, face (M,) int32, position and normal
    (M, 3) float32 in the object frame, inside (M,) bool (False = gutter)."""

    size: int
    index: np.ndarray
    face: np.ndarray
    weight: np.ndarray
    position: np.ndarray
    normal: np.ndarray
    inside: np.ndarray


def texels(
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, uv: np.ndarray, faces_uv: np.ndarray, size: int
) -> Texels:
    """All texels of the charts and their gutters, in raster order."""
    corners = np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], 1)[faces_uv]
    face_of, weights, outside = _rasterise(np.ascontiguousarray(corners), size, GUTTER_PX)
    index = np.flatnonzero(face_of >= 0)
    face = face_of.ravel()[index]
    w = weights.reshape(-1, 2)[index]
    position, normal = _interpolate(
        vertices.astype(np.float32), normals.astype(np.float32), faces.astype(np.int32), face, weight=w
    )
    return Texels(size, index, face, w, position=position, normal=normal, inside=outside.ravel()[index] == 0)


@numba.njit(cache=True, nogil=True)
def _rasterise(corners, size, reach):
    """corners (F, 3, 2) px -> face (S, S) int32 (-1 = none), weights of corners 1 and 2 (S, S, 2), distance outside (S, S) px."""
    face_of = np.full((size, size), -1, np.int32)
    weight = np.zeros((size, size, 2), np.float32)
    outside = np.full((size, size), np.inf, np.float32)
    for f in range(corners.shape[0]):
        x0, y0 = corners[f, 0]
        ax, ay = corners[f, 1, 0] - x0, corners[f, 1, 1] - y0
        bx, by = corners[f, 2, 0] - x0, corners[f, 2, 1] - y0
        det = ax * by - ay * bx
        if abs(det) < 1e-9:
            continue
        lengths = (np.hypot(bx - ax, by - ay), np.hypot(bx, by), np.hypot(ax, ay))
        left = max(0, int(np.ceil(min(x0, x0 + ax, x0 + bx) - reach)))
        right = min(size - 1, int(np.floor(max(x0, x0 + ax, x0 + bx) + reach)))
        top = max(0, int(np.ceil(min(y0, y0 + ay, y0 + by) - reach)))
        bottom = min(size - 1, int(np.floor(max(y0, y0 + ay, y0 + by) + reach)))
        for r in range(top, bottom + 1):
            for c in range(left, right + 1):
                dx, dy = c - x0, r - y0
                w1, w2 = (dx * by - dy * bx) / det, (ax * dy - ay * dx) / det
                w0 = 1 - w1 - w2
                # signed distance to each edge line = weight * height over that edge; height = |det| / length
                far = max(-w0 / lengths[0], -w1 / lengths[1], -w2 / lengths[2]) * abs(det)
                far = max(far, 0.0) if far > 1e-6 else 0.0
                if far <= reach and far < outside[r, c] and _near(w0, w1, w2, dx, dy, ax, ay, bx, by, reach):
                    outside[r, c] = far
                    face_of[r, c] = f
                    weight[r, c, 0], weight[r, c, 1] = w1, w2
    return face_of, weight, outside


@numba.njit(cache=True, nogil=True)
def _near(w0, w1, w2, dx, dy, ax, ay, bx, by, reach):
    """Whether the texel is within `reach` of the triangle itself: the lines of a sliver's edges run far past its tips."""
    s0, s1, s2 = max(w0, 0.0), max(w1, 0.0), max(w2, 0.0)
    total = s0 + s1 + s2
    s1, s2 = s1 / total, s2 / total
    return np.hypot(s1 * ax + s2 * bx - dx, s1 * ay + s2 * by - dy) <= 2 * reach


@numba.njit(cache=True, nogil=True)
def _interpolate(vertices, normals, faces, face, weight):
    n = face.shape[0]
    position, normal = np.empty((n, 3), np.float32), np.empty((n, 3), np.float32)
    for i in range(n):
        a, b, c = faces[face[i], 0], faces[face[i], 1], faces[face[i], 2]
        w1, w2 = weight[i, 0], weight[i, 1]
        w0 = np.float32(1) - w1 - w2
        length = np.float32(0)
        for k in range(3):
            position[i, k] = w0 * vertices[a, k] + w1 * vertices[b, k] + w2 * vertices[c, k]
            normal[i, k] = w0 * normals[a, k] + w1 * normals[b, k] + w2 * normals[c, k]
            length += normal[i, k] * normal[i, k]
        length = np.sqrt(length) + np.float32(1e-12)
        for k in range(3):
            normal[i, k] /= length
    return position, normal
