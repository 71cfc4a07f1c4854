"""One index per corner: formats for display have no separate indices for position and uv, so vertices on seams are doubled."""

from __future__ import annotations

import numpy as np

from stages.core.meshes import SurfaceMesh, TexturedMesh


def single_index(mesh: TexturedMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) index of the vertex and (N,) of the uv of each distinct pair, and (F, 3) triangles into them."""
    key = mesh.faces.astype(np.int64) * len(mesh.uv) + mesh.faces_uv
    pairs, triangles = np.unique(key, return_inverse=True)
    return pairs // len(mesh.uv), pairs % len(mesh.uv), triangles.reshape(-1, 3)


def nearest_confidence(vertices: np.ndarray, source: SurfaceMesh) -> np.ndarray:
    """(N,) confidence of the nearest vertex of the full mesh, for the vertices of the lighter one."""
    from scipy.spatial import cKDTree

    return source.confidence[cKDTree(source.vertices).query(vertices)[1]]
