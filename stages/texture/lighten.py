"""Fewer faces before unwrapping: unwrapping costs more than linear in faces, and colour detail lives in the texture anyway."""

from __future__ import annotations

import numpy as np

MOST_BUDGETS = 8
"""of the budget, at which a mesh is taken as it is, however far off: unwrapping a million faces takes minutes"""


def lighten(
    vertices: np.ndarray, faces: np.ndarray, face_budget: int, tolerance_m: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """(V, 3), (F, 3) -> (V', 3) float64, (F', 3) int64, deviation in metres (99th percentile of original vertices to new surface).

    Quadric edge collapse (Garland and Heckbert 1997, through fast-simplification) to `face_budget` faces; while the deviation exceeds
    `tolerance_m` the budget is doubled, at most three times, so thin parts are not sacrificed to a number and a surface that is rough all
    over ends. A mesh within the budget comes back as it is, with degenerate faces and unused vertices gone.
    """
    vertices, faces = tidy(vertices, faces)
    budget = face_budget
    while len(faces) > budget:
        light = _collapse(vertices, faces, budget)
        deviation = _deviation(vertices, faces, *light)
        if deviation <= tolerance_m or budget >= MOST_BUDGETS * face_budget:
            return *light, deviation
        budget *= 2
    return vertices, faces, 0.0


def tidy(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without zero-area faces and vertices that no face uses."""
    faces = np.asarray(faces, np.int64)
    vertices = np.asarray(vertices, np.float64)
    corners = vertices[faces]
    double_area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    kept = faces[double_area > 1e-14]
    used, renumbered = np.unique(kept, return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) float64 unit normals, faces weighted by area; a vertex whose faces cancel out points to +z."""
    corners = vertices[faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    out = np.stack([np.bincount(faces.ravel(), np.repeat(area[:, c], 3), len(vertices)) for c in range(3)], 1)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 0, out / np.maximum(length, 1e-300), [0.0, 0.0, 1.0])


def _collapse(vertices: np.ndarray, faces: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    centre = vertices.mean(0)  # float32 inside: keep the digits for the shape, not for where it stands
    light = fast_simplification.simplify(
        (vertices - centre).astype(np.float32), faces.astype(np.int32), target_count=budget, agg=3
    )
    return tidy(np.asarray(light[0], np.float64) + centre, light[1])


def _deviation(
    vertices: np.ndarray, faces: np.ndarray, light_vertices: np.ndarray, light_faces: np.ndarray, samples: int = 20000
) -> float:
    """99th percentile over original vertices of the distance to the light mesh along the normal, metres; no hit counts as the reach."""
    from stages.core.render import Caster

    reach = 0.02 * float(np.linalg.norm(np.ptp(vertices, 0)))
    pick = np.arange(0, len(vertices), max(1, len(vertices) // samples))
    p, n = vertices[pick], vertex_normals(vertices, faces)[pick]
    t = Caster(light_vertices, light_faces).cast(p + n * reach, -n)["t"]
    return float(np.percentile(np.minimum(np.abs(t - reach), reach), 99))
