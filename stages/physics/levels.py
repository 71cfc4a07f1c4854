"""The twin at a quarter and a twentieth of its faces, with what each lost put into a normal map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.core.levels import NAMES, Level
from stages.core.meshes import SurfaceMesh, TexturedMesh
from stages.physics.collapse import collapsed
from stages.physics.normal_map import baked, tangents
from stages.physics.shapes import Shape
from stages.physics.surface_distance import Ruler, Surface, SurfaceDistance, samples

SHARES = (0.25, 0.05)
TRIED = (0.5, 0.25, 0.1, 0.05)
"""of the faces; a level takes more of them where its own share would leave the surface"""
MOST_OF_SIZE = (0.01, 0.03)
"""that a level may lie from the full mesh anywhere, of the longest side"""
LEAST_FACES = 64
MOST_MAP_PX = 1024
"""the relief that the map holds was never finer than the full mesh"""
REACH_OF_SIZE = 0.03
"""how far from a level the full mesh is looked for"""
SAMPLES = 8000


@dataclass(frozen=True)
class Measured:
    """A level and how far it lies from the full mesh, both ways."""

    level: Level
    distance: SurfaceDistance

    @property
    def record(self) -> dict[str, float]:
        """For physics.json."""
        return {"faces": len(self.level.faces), "mean_m": self.distance.mean_m, "max_m": self.distance.max_m}


def figures(levels: list[Measured]) -> dict[str, float]:
    """For the report, with units in the keys."""
    out: dict[str, float] = {}
    for name, m in zip(NAMES, levels, strict=True):
        out |= {
            f"{name}_faces": len(m.level.faces),
            f"{name}_mean_mm": round(1000 * m.distance.mean_m, 3),
            f"{name}_max_mm": round(1000 * m.distance.max_m, 3),
        }
    return out


def make_levels(full: SurfaceMesh, mesh: TexturedMesh) -> list[Measured]:
    """One for each of `SHARES`."""
    source = Shape(full.vertices, full.faces)
    ruler, on_source, normals = Ruler(source, SAMPLES), samples(source, SAMPLES)[0], smooth_normals(source)
    reach, size = REACH_OF_SIZE * source.size, min(mesh.texture.shape[0], MOST_MAP_PX)
    lighter = [
        (mesh.faces, mesh.faces_uv),
        *collapsed(mesh, [max(LEAST_FACES, round(s * len(mesh.faces))) for s in TRIED]),
    ]
    out = []
    for share, most in zip(SHARES, MOST_OF_SIZE, strict=True):
        for found in lighter[TRIED.index(share) + 1 :: -1]:
            distance = _distance(Shape(mesh.vertices, found[0]), ruler, on_source)
            if distance.max_m <= most * source.size:
                break
        level = _level(mesh, *found, lambda low: baked(low, (full.vertices, full.faces, normals), size, reach))
        out.append(Measured(level, distance))
    return out


def _distance(shape: Shape, ruler: Ruler, on_source: np.ndarray) -> SurfaceDistance:
    """From the full mesh and back."""
    points, face = samples(shape, 2 * SAMPLES)
    corner = shape.vertices[shape.faces]
    there = Surface(np.concatenate([points, corner.mean(1)]), np.concatenate([corner[face], corner])).near(on_source)[0]
    back = ruler.to_mesh(points[::2])
    return SurfaceDistance(float(there.mean() + back.mean()) / 2, float(max(there.max(), back.max())))


def _level(
    mesh: TexturedMesh, faces: np.ndarray, faces_uv: np.ndarray, bake: Callable[[tuple[np.ndarray, ...]], np.ndarray]
) -> Level:
    used, faces = np.unique(faces, return_inverse=True)
    used_uv, faces_uv = np.unique(faces_uv, return_inverse=True)
    faces, faces_uv = faces.reshape(-1, 3), faces_uv.reshape(-1, 3)
    geometry = (mesh.vertices[used], faces, mesh.uv[used_uv].astype(float), faces_uv, mesh.normals[used].astype(float))
    low = (*geometry, tangents(*geometry))
    return Level(*low, bake(low))


def smooth_normals(shape: Shape) -> np.ndarray:
    """(V, 3) unit, faces weighted by area."""
    c = shape.vertices[shape.faces]
    area = np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0])
    total = np.stack(
        [np.bincount(shape.faces.ravel(), np.repeat(area[:, k], 3), len(shape.vertices)) for k in range(3)], 1
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.maximum(length, 1e-300), [0.0, 0.0, 1.0])
