"""Shapes whose volume, inertia and hollows are known, as closed meshes; object frame (y down), metres."""

from __future__ import annotations

import numpy as np

from stages.core.meshes import SurfaceMesh, TexturedMesh
from stages.core.synthetic.shape import cylinder, torus
from stages.physics.shapes import Shape

MUG_RADIUS, MUG_HALF, MUG_WALL, MUG_FLOOR = 0.036, 0.045, 0.007, 0.009
EAR_MAJOR, EAR_MINOR, EAR_AT = 0.023, 0.006, 0.038


def meshed(sdf, half: tuple[float, float, float], voxel_m: float) -> Shape:
    """Marching cubes of a signed distance function of (..., 3)."""
    from skimage.measure import marching_cubes

    axes = [np.arange(-h, h + voxel_m, voxel_m) + 0.113 * voxel_m for h in half]
    vertices, faces, _, _ = marching_cubes(
        sdf(np.stack(np.meshgrid(*axes, indexing="ij"), -1)), 0.0, spacing=(voxel_m,) * 3
    )
    return Shape(vertices + np.array([a[0] for a in axes]), faces.astype(np.int64))


def ball(radius: float = 0.05, voxel_m: float = 0.002) -> Shape:
    """A sphere round the origin."""
    return meshed(lambda x: np.linalg.norm(x, axis=-1) - radius, (radius + 2 * voxel_m,) * 3, voxel_m)


def box(size: tuple[float, float, float], centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Shape:
    """Twelve triangles."""
    corner = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size + centre
    faces = [
        (0, 1, 3),
        (0, 3, 2),
        (4, 6, 7),
        (4, 7, 5),
        (0, 4, 5),
        (0, 5, 1),
        (2, 3, 7),
        (2, 7, 6),
        (0, 2, 6),
        (0, 6, 4),
        (1, 5, 7),
        (1, 7, 3),
    ]
    return Shape(corner, np.array(faces, np.int64))


def mug(voxel_m: float = 0.0015) -> Shape:
    """Open at the top (-y), with an ear towards +x."""

    def sdf(x: np.ndarray) -> np.ndarray:
        outer = cylinder(x, MUG_RADIUS, MUG_HALF, 0.003)
        inner = cylinder(x - [0, -MUG_FLOOR, 0], MUG_RADIUS - MUG_WALL, MUG_HALF, 0.003)
        ear = np.maximum(
            torus(x - [EAR_AT, 0, 0], EAR_MAJOR, EAR_MINOR), MUG_RADIUS - 0.003 - np.hypot(x[..., 0], x[..., 2])
        )
        return np.maximum(np.minimum(outer, ear), -inner)

    return meshed(sdf, (0.075, 0.055, 0.045), voxel_m)


def bowl(voxel_m: float = 0.0015) -> Shape:
    """Half a ball of 60 mm radius, open at the top (-y), with a wall of 5 mm and a flat foot."""

    def sdf(x: np.ndarray) -> np.ndarray:
        solid = np.maximum(np.linalg.norm(x, axis=-1) - 0.060, np.maximum(-x[..., 1], x[..., 1] - 0.057))
        return np.maximum(solid, 0.055 - np.linalg.norm(x * [1, 1.04, 1], axis=-1))

    return meshed(sdf, (0.065, 0.062, 0.065), voxel_m)


def textured(shape: Shape, colour: tuple[int, int, int] = (180, 90, 40)) -> TexturedMesh:
    """One colour all over."""
    corner = shape.vertices[shape.faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    sums = np.stack(
        [np.bincount(shape.faces.ravel(), np.repeat(normal[:, k], 3), len(shape.vertices)) for k in range(3)], 1
    )
    normals = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    uv = np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.8]])
    faces_uv = np.tile([0, 1, 2], (len(shape.faces), 1))
    return TexturedMesh(shape.vertices, shape.faces, uv, faces_uv, normals, np.full((32, 32, 3), colour, np.uint8))


def surface(shape: Shape) -> SurfaceMesh:
    """As mesh.ply holds it, all of it seen."""
    count = len(shape.vertices)
    return SurfaceMesh(shape.vertices, shape.faces, np.full((count, 3), 120, np.uint8), np.ones(count, np.float32))
