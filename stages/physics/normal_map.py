"""Tangents of a textured mesh, and the normals of a finer mesh as a picture in the coarser one's texture coordinates."""

from __future__ import annotations

import numpy as np

from stages.core.render import Caster

GUTTER_PX = 8
FLAT = (128, 128, 255)
"""the level's own normal"""


def tangents(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, faces_uv: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """(T, 4) as `Level` has them: of each uv the mean over its faces, weighted by area, at right angles to its normal."""
    c, t = vertices[faces], uv[faces_uv]
    e1, e2, d1, d2 = c[:, 1] - c[:, 0], c[:, 2] - c[:, 0], t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    turn = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    along_u = np.sign(turn)[:, None] * (d2[:, 1:] * e1 - d1[:, 1:] * e2)
    area = np.linalg.norm(np.cross(e1, e2), axis=1, keepdims=True)
    along_u *= area / np.maximum(np.linalg.norm(along_u, axis=1, keepdims=True), 1e-30)
    total, hand, normal = np.zeros((len(uv), 3)), np.zeros(len(uv)), np.tile([0.0, 0.0, 1.0], (len(uv), 1))
    for k in range(3):
        np.add.at(total, faces_uv[:, k], along_u)
        np.add.at(hand, faces_uv[:, k], np.sign(turn) * area[:, 0])
        normal[faces_uv[:, k]] = normals[faces[:, k]]
    total -= (total * normal).sum(1, keepdims=True) * normal
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit = np.where(length > 1e-12, total / np.maximum(length, 1e-30), _any_across(normal))
    return np.concatenate([unit, np.where(hand < 0, -1.0, 1.0)[:, None]], 1)


def baked(
    low: tuple[np.ndarray, ...], full: tuple[np.ndarray, np.ndarray, np.ndarray], size: int, reach_m: float
) -> np.ndarray:
    """(size, size, 3) uint8 as `Level` has it, for `low` = vertices, faces, uv, faces_uv, normals, tangents and `full` = vertices, faces,
    normals. From each texel a ray each way along the level's normal; the nearer hit counts whose face looks the same way. Where there is
    none within `reach_m` the map is flat."""
    vertices, faces, uv, faces_uv, normals, tangent = low
    centre = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(centre, centre[::-1])
    flat = Caster(np.c_[uv, np.zeros(len(uv))], faces_uv)
    hit = flat.cast(np.stack([u, v, np.ones_like(u)], -1), np.broadcast_to([0.0, 0.0, -1.0], (size, size, 3)))
    seen = hit["face"] >= 0
    face, (b, c) = hit["face"][seen], hit["uv"][seen].astype(float).T
    weights = np.stack([1 - b - c, b, c], 1)[:, :, None]
    place = (vertices[faces[face]] * weights).sum(1)
    frame = _frames((normals[faces[face]] * weights).sum(1), (tangent[faces_uv[face]] * weights).sum(1))
    found, there = _normals_along(Caster(full[0], full[1]), full[2], place, frame[:, :, 2], reach_m=reach_m)
    local = np.linalg.solve(frame, found[:, :, None])[:, :, 0]
    local[:, 2] = np.maximum(local[:, 2], 0.05)
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    image = np.empty((size, size, 3), np.uint8)
    image[:] = FLAT
    image[seen] = np.where(there[:, None], np.rint(127.5 * (1 + local)), FLAT).astype(np.uint8)
    return _with_gutter(image, seen)


def decoded(image: np.ndarray, normal: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals from the map's values (N, 3) with the level's interpolated normals (N, 3) and tangents (N, 4), as a renderer
    does it."""
    n = (_frames(normal, tangent) @ (image / 127.5 - 1.0)[:, :, None])[:, :, 0]
    return n / np.linalg.norm(n, axis=1, keepdims=True)


def _frames(normal: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """(N, 3, 3) tangent, bitangent and normal as columns."""

    def unit(x):
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)

    n, t = unit(normal), unit(tangent[:, :3])
    return np.stack([t, unit(np.cross(n, t)) * np.where(tangent[:, 3:] < 0, -1.0, 1.0), n], 2)


def _normals_along(
    full: Caster, normals: np.ndarray, place: np.ndarray, normal: np.ndarray, reach_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) unit, and (N,) whether there was a hit; without one the normal that was given."""
    back = 1e-3 * reach_m  # a surface at the very place is met by both rays
    best, out = np.full(len(place), np.inf), normal.copy()
    for way in (1.0, -1.0):
        hit = full.cast(place - way * back * normal, way * normal)
        smooth = full.interpolate(hit, normals)
        smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-30)
        nearer = (hit["t"] < np.minimum(best, reach_m)) & ((smooth * normal).sum(1) > 0)
        best[nearer], out[nearer] = hit["t"][nearer], smooth[nearer]
    return out, np.isfinite(best)


def _with_gutter(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Filtering at a chart's edge reads beyond it."""
    from scipy.ndimage import distance_transform_edt

    if not seen.any():
        return image
    row, column = np.asarray(distance_transform_edt(~seen, return_distances=False, return_indices=True))
    near = np.hypot(row - np.arange(len(seen))[:, None], column - np.arange(len(seen))) <= GUTTER_PX
    image[near] = image[row[near], column[near]]
    return image


def _any_across(normal: np.ndarray) -> np.ndarray:
    axis = np.eye(3)[np.abs(normal).argmin(1)]
    across = np.cross(normal, axis)
    return across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
