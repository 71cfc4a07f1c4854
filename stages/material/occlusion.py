"""What each vertex sees in each direction of the light: nothing, or the object itself. Rays cast once, at the pixels of the light."""

from __future__ import annotations

import numpy as np

from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.material.light import directions, solid_angles

_OFF = 2e-3
"""a ray begins this share of the object's size above its vertex"""
_BLOCK = 512


def what_stands_before(
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, height: int, workers: int
) -> np.ndarray:
    """(N, 2 height^2) int32: the vertex that a ray from each vertex meets first, -1 = the light. Directions below the surface: -1."""
    caster, ways = Caster(vertices, faces), directions(height).astype(np.float32)
    lift = _OFF * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    starts = (vertices + lift * normals).astype(np.float32)

    def one(first: int) -> np.ndarray:
        part = slice(first, first + _BLOCK)
        above = normals[part].astype(np.float32) @ ways.T > 0
        row, way = np.nonzero(above)
        hit = caster.cast(starts[part][row], ways[way])
        corner = np.argmax(np.concatenate([1 - hit["uv"].sum(-1, keepdims=True), hit["uv"]], -1), -1)
        out = np.full(above.shape, -1, np.int32)
        out[row, way] = np.where(hit["face"] >= 0, faces[np.maximum(hit["face"], 0), corner], -1)
        return out

    return np.concatenate(list(ordered_map(one, range(0, len(vertices), _BLOCK), workers)))


def irradiance_rows(normals: np.ndarray, hit: np.ndarray, height: int) -> np.ndarray:
    """(N, D) float32: what each pixel of the light adds to the irradiance of each vertex."""
    cosine = np.maximum(normals.astype(np.float32) @ directions(height).astype(np.float32).T, 0)
    return cosine * solid_angles(height).astype(np.float32) * (hit < 0)


def own_irradiance(normals: np.ndarray, hit: np.ndarray, colours: np.ndarray, height: int) -> np.ndarray:
    """(N, 3) float32: irradiance of the vertices by the object's own light; colours (N, 3) radiance of the vertices."""
    ways, angles = directions(height).astype(np.float32), solid_angles(height).astype(np.float32)
    out = np.zeros((len(normals), 3), np.float32)
    for first in range(0, len(normals), _BLOCK):
        part = slice(first, first + _BLOCK)
        cosine = np.maximum(normals[part].astype(np.float32) @ ways.T, 0) * angles * (hit[part] >= 0)
        out[part] = np.einsum("nd,ndc->nc", cosine, colours[np.maximum(hit[part], 0)], optimize=True)
    return out
