"""Colour for what no picture saw: harmonic over the surface (never across the atlas), and for the space between charts."""

from __future__ import annotations

import cv2
import numpy as np


def fill_unseen(
    colour: np.ndarray, seen: np.ndarray, face: np.ndarray, weight: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> None:
    """Give the texels with `seen` (M,) False a colour, in place: the smoothest one over the mesh that meets the seen ones.

    colour (M, 3) float32; face (M,) and weight (M, 2) of each texel as in `atlas.Texels`. Laplace's equation is solved on the vertices.
    """
    if seen.all() or not seen.any():
        return
    known, value = _vertex_colours(colour[seen], faces[face[seen]], weight[seen], len(vertices))
    value = _harmonic(value, known, vertices, faces, fallback=colour[seen].mean(0))
    corner, w = faces[face[~seen]], np.clip(weight[~seen], 0, 1)
    w0 = np.clip(1 - w.sum(1), 0, 1)
    total = (w0 + w.sum(1))[:, None]
    colour[~seen] = (
        value[corner[:, 0]] * w0[:, None] + value[corner[:, 1]] * w[:, :1] + value[corner[:, 2]] * w[:, 1:]
    ) / total


def _vertex_colours(
    colour: np.ndarray, corner: np.ndarray, weight: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of the seen texels round each vertex, weighted by nearness: known (V,) bool, value (V, 3)."""
    near = np.clip(np.concatenate([1 - weight.sum(1), weight[:, 0], weight[:, 1]]), 0, 1) ** 2
    vertex = np.concatenate([corner[:, 0], corner[:, 1], corner[:, 2]])
    total = np.bincount(vertex, near, count)
    value = np.stack([np.bincount(vertex, near * np.tile(colour[:, c], 3), count) for c in range(3)], 1)
    return total > 0.05, value / np.maximum(total, 1e-12)[:, None]


def _harmonic(
    value: np.ndarray, known: np.ndarray, vertices: np.ndarray, faces: np.ndarray, fallback: np.ndarray
) -> np.ndarray:
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import spsolve

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    graph = coo_matrix((1 / np.maximum(length, 1e-9), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2).tocsr()
    _, part = connected_components(graph, directed=False)
    reachable = np.bincount(part, known) > 0
    free = np.flatnonzero(~known & reachable[part])
    out = np.where((known | reachable[part])[:, None], value, fallback)
    if len(free):
        fixed = np.flatnonzero(known)
        laplacian = (diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsr()
        out[free] = spsolve(laplacian[free][:, free].tocsc(), -laplacian[free][:, fixed] @ value[fixed]).reshape(-1, 3)
    return out


def fill_background(image: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 and (S, S) bool -> the picture with the rest filled from near to far (pull-push, Gortler et al. 1996).

    Texture filtering at small size then never mixes in black, and the file compresses better.
    """
    weight = painted.astype(np.float32)
    levels = [(image.astype(np.float32) * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 1:
        size = tuple(max(1, (n + 1) // 2) for n in levels[-1][1].shape[::-1])
        levels.append(tuple(cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in levels[-1]))
    colour = levels[-1][0].reshape(*levels[-1][1].shape, 3) / np.maximum(levels[-1][1], 1e-12)[..., None]
    for total, w in reversed(levels[:-1]):
        coarse = cv2.resize(colour, w.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(*w.shape, 3)
        own = np.minimum(w * 4, 1)[..., None]  # a cell a quarter full already speaks for itself
        colour = own * total / np.maximum(w, 1e-12)[..., None] + (1 - own) * coarse
    filled = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
    filled[painted] = image[painted]
    return filled
