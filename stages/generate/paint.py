"""Colours of a completed surface: the twin's own texture where it was measured, the model's or the nearest measured colour elsewhere, and a
map of the same size that says which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.core.meshes import TexturedMesh
from stages.core.texels.atlas import texels
from stages.core.texels.unwrap import unwrap
from stages.generate.completion import Completed, Nearby, vertex_normals
from stages.generate.scene import Room

Colours = Callable[[np.ndarray], np.ndarray]
"""(N, 3) places of the object frame -> (N, 3) uint8"""


@dataclass(frozen=True)
class Painted:
    """mesh, and invented (S, S) bool beside its texture."""

    mesh: TexturedMesh
    invented: np.ndarray


def twins_colours(twin: TexturedMesh) -> Colours:
    """Of the nearest texel of the twin."""
    from scipy.spatial import cKDTree

    t = texels(twin.vertices, twin.faces, twin.normals, twin.uv, faces_uv=twin.faces_uv, size=twin.texture.shape[0])
    some = np.flatnonzero(t.inside)
    tree, flat = cKDTree(t.position[some]), twin.texture.reshape(-1, 3)[t.index[some]]
    return lambda x: flat[tree.query(x)[1]]


def paint(
    found: Completed, near: Nearby, room: Room, cell: float, size: int, measured: Colours, invented: Colours
) -> Painted:
    """A texture of `size` for the completed surface."""
    charts = unwrap(found.vertices, found.faces, size, 4)
    normals = vertex_normals(found.vertices, found.faces)
    t = texels(found.vertices, found.faces, normals, charts.uv, faces_uv=charts.faces_uv, size=size)
    made_up = near.invented((t.position - room.centre) / room.half, t.normal, cell)
    colour = np.empty((len(t.index), 3), np.uint8)
    colour[~made_up], colour[made_up] = measured(t.position[~made_up]), invented(t.position[made_up])
    texture, where = np.full((size * size, 3), 128, np.uint8), np.zeros(size * size, bool)
    texture[t.index], where[t.index] = colour, made_up
    mesh = TexturedMesh(
        found.vertices, found.faces, charts.uv, charts.faces_uv, normals=normals, texture=texture.reshape(size, size, 3)
    )
    return Painted(mesh, where.reshape(size, size))
