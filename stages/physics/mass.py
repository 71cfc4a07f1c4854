"""Volume, centre of mass and inertia of a closed mesh, as a solid and as a thin shell.

Both are exact for the mesh: sums over the tetrahedra that its faces span with a point, and over its faces (Tonon 2004 gives the moments
of a tetrahedron; those of a triangle follow in the same way).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.physics.materials import Material
from stages.physics.shapes import Shape

ASSUMED, GIVEN, COMPUTED = "assumed", "given", "computed from the mesh"


@dataclass(frozen=True)
class Moments:
    """content: m3 of a solid, m2 of a shell; centre (3,) m; inertia (3, 3) about the centre for a mass of 1 kg, m2."""

    content: float
    centre: np.ndarray
    inertia: np.ndarray


@dataclass(frozen=True)
class MassProperties:
    """In the frame of the mesh: kg, m, kg m2 (about the centre of mass); `how_mass` says where the mass comes from."""

    mass_kg: float
    centre: np.ndarray
    inertia: np.ndarray
    volume_m3: float
    area_m2: float
    density_kg_m3: float
    """of the material; what mass and volume give where the mass is given"""
    how_mass: str
    model: str
    """solid or shell"""

    @property
    def principal(self) -> tuple[np.ndarray, np.ndarray]:
        """Moments (3,) ascending and axes (3, 3) as columns, right-handed."""
        moments, axes = np.linalg.eigh(self.inertia)
        return moments, axes * np.sign(np.linalg.det(axes))


def solid_moments(shape: Shape) -> Moments:
    """Of the inside. Raises ValueError where there is none, or it is inside out."""
    corner, middle = _centred(shape)
    det = np.linalg.det(corner)
    volume = det.sum() / 6
    if volume <= 1e-9 * shape.size**3:
        raise ValueError("it encloses no volume" if volume > -1e-9 * shape.size**3 else "its faces look inwards")
    total = corner.sum(1)
    centre = (det[:, None] * total).sum(0) / 24 / volume
    second = (
        (np.einsum("f,fki,fkj->ij", det, corner, corner) + np.einsum("f,fi,fj->ij", det, total, total)) / 120 / volume
    )
    return Moments(float(volume), centre + middle, _inertia(second - np.outer(centre, centre)))


def shell_moments(shape: Shape) -> Moments:
    """Of the surface."""
    corner, middle = _centred(shape)
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 2
    total = corner.sum(1)
    centre = (area[:, None] * total).sum(0) / 3 / area.sum()
    second = (
        (np.einsum("f,fki,fkj->ij", area, corner, corner) + np.einsum("f,fi,fj->ij", area, total, total))
        / 12
        / area.sum()
    )
    return Moments(float(area.sum()), centre + middle, _inertia(second - np.outer(centre, centre)))


def mass_properties(
    shape: Shape,
    material: Material,
    how_material: str,
    mass_kg: float | None = None,
    density_kg_m3: float | None = None,
    wall_m: float | None = None,
) -> MassProperties:
    """With what is given, else what the material says. Raises ValueError for a mesh without volume or a wall that fills it."""
    solid, shell = solid_moments(shape), shell_moments(shape)
    filled = solid.content if wall_m is None else wall_m * shell.content
    if filled > solid.content:
        raise ValueError(f"walls of {1000 * wall_m:g} mm hold more than its volume of {1e6 * solid.content:.3g} cm3")
    density = density_kg_m3 or material.density
    mass = mass_kg or filled * density
    how = GIVEN if mass_kg else f"{'given' if density_kg_m3 else how_material} density times volume"
    used = solid if wall_m is None else shell
    return MassProperties(
        mass,
        used.centre,
        mass * used.inertia,
        solid.content,
        area_m2=shell.content,
        density_kg_m3=mass / filled if mass_kg else density,
        how_mass=how,
        model="solid" if wall_m is None else "shell",
    )


def _centred(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Corners (F, 3, 3) about the middle of the vertices: sums of large terms that cancel lose digits."""
    middle = shape.vertices.mean(0)
    return shape.vertices[shape.faces] - middle, middle


def _inertia(covariance: np.ndarray) -> np.ndarray:
    return np.trace(covariance) * np.eye(3) - covariance
