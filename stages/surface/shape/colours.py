"""A colour for every vertex of the handed-on mesh, for previews and for viewers without textures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.surface.shape.evolve import vertex_normals
from stages.surface.views.cameras import blocks, visible
from stages.surface.views.views import View


def vertex_colours(
    vertices: np.ndarray, faces: np.ndarray, views: Sequence[View], slack: float, workers: int
) -> np.ndarray:
    """(V, 3) uint8: mean over the left pictures that see the vertex, by the 4th power of how well it faces them; grey where unseen."""
    normals, caster = vertex_normals(vertices, faces), Caster(vertices, faces)
    parts = [
        _colours_of(caster, vertices[b], normals[b], views, slack=slack, workers=workers) for b in blocks(len(vertices))
    ]
    return np.concatenate(parts)


def _colours_of(
    caster: Caster, vertices: np.ndarray, normals: np.ndarray, views: Sequence[View], slack: float, workers: int
) -> np.ndarray:
    cosine = visible(caster, views, vertices, normals, least_cosine=0.15, slack=slack, workers=workers)

    def read(i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        view, seen = views[i], np.flatnonzero(cosine[:, 2 * i] > 0)
        x = (vertices[seen] - view.object_from_left[:3, 3]) @ view.object_from_left[:3, :3]
        uv = np.rint(view.rig.project(x)).astype(int)
        return seen, view.left[uv[:, 1], uv[:, 0]].astype(np.float32), cosine[seen, 2 * i] ** 4

    total, weight = np.zeros((len(vertices), 3), np.float32), np.zeros((len(vertices), 1), np.float32)
    for seen, colour, w in ordered_map(read, range(len(views)), workers):
        total[seen] += colour * w[:, None]
        weight[seen] += w[:, None]
    mean = np.divide(total, weight, out=np.full_like(total, 128), where=weight > 0)
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)
