"""Shapes to make captures of: signed distance functions that are meshed here, and meshes from files.

Object frame: metres, x right, y DOWN, origin near the centre, so that the object stands on y = its largest y.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.core.synthetic.shape import cylinder, object_mesh, rounded_box, smooth_min, torus

VOXEL_M = 0.0008
_Y_DOWN_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])

Mesh = tuple[np.ndarray, np.ndarray]
"""vertices (V, 3) float64 metres, faces (F, 3) int, outward orientation"""


def shape(name: str) -> Mesh:
    """One of SHAPES, or a mesh file (z up, as scanners leave it). Raises ValueError for a name that is neither."""
    if name in SHAPES:
        return SHAPES[name]()
    if not Path(name).is_file():
        raise ValueError(f"{name!r} is neither a mesh file nor one of {', '.join(SHAPES)}")
    return from_file(Path(name))


def from_file(path: Path) -> Mesh:
    """The mesh of a file that trimesh reads, turned so that y points down."""
    import trimesh

    mesh = trimesh.load(path, process=False, force="mesh")
    return np.asarray(mesh.vertices, float) @ _Y_DOWN_FROM_Z_UP.T, np.asarray(mesh.faces)


def mesh_of(
    distance: Callable[[np.ndarray], np.ndarray], half: tuple[float, float, float], voxel_m: float = VOXEL_M
) -> Mesh:
    """Marching cubes of a signed distance function in the box of half sizes `half` round the origin."""
    from skimage.measure import marching_cubes

    axes = [np.arange(-h - 3 * voxel_m, h + 4 * voxel_m, voxel_m) for h in half]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    vertices, faces, _, _ = marching_cubes(distance(grid), 0.0, spacing=(voxel_m,) * 3)
    return vertices + np.array([a[0] for a in axes]), faces.astype(np.int32)


def _box() -> Mesh:
    half = (0.048, 0.066, 0.028)
    return mesh_of(lambda x: rounded_box(x, half, 0.003), half)


def _mug(x: np.ndarray) -> np.ndarray:
    """Hollow, with walls of 4 mm and an ear through which one sees."""
    outer, hollow = cylinder(x, 0.040, 0.047, 0.002), cylinder(x - [0, -0.010, 0], 0.036, 0.052, 0.006)
    ear = np.maximum(torus(x - [0.042, 0.002, 0], 0.024, 0.006), -hollow)
    return np.maximum(smooth_min(outer, ear, 0.004), -hollow)


def _screwdriver(x: np.ndarray) -> np.ndarray:
    """Lies along x: a ribbed grip, a thin shaft of 6 mm and a flat blade."""
    along = x[..., [1, 0, 2]]
    turn = np.arctan2(x[..., 2], x[..., 1])
    grip = cylinder(along - [0, -0.048, 0], 0.015, 0.045, 0.008) + 0.0012 * np.cos(6 * turn)
    shaft = cylinder(along - [0, 0.040, 0], 0.003, 0.050, 0.001)
    blade = rounded_box(x - [0.088, 0, 0], (0.010, 0.0016, 0.0045), 0.001)
    return smooth_min(smooth_min(grip, shaft, 0.004), blade, 0.003)


def _egg(x: np.ndarray) -> np.ndarray:
    """A smooth body without an edge anywhere."""
    stretch = 1 + 1.5 * x[..., 1]
    return (np.sqrt((x[..., 0] / 0.036) ** 2 + (x[..., 1] / 0.050) ** 2 + (x[..., 2] / 0.032) ** 2) - stretch) * 0.030


SHAPES: dict[str, Callable[[], Mesh]] = {
    "flask": object_mesh,
    "box": _box,
    "mug": lambda: mesh_of(_mug, (0.074, 0.050, 0.042)),
    "screwdriver": lambda: mesh_of(_screwdriver, (0.102, 0.018, 0.018)),
    "egg": lambda: mesh_of(_egg, (0.042, 0.056, 0.040)),
}
