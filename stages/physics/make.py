"""From the mesh to all that the files say: mass properties, upright frame, colliders, each with how it came about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.base import StageContext
from stages.core.geometry.rigid import transform
from stages.core.levels import Level
from stages.core.meshes import SurfaceMesh, TexturedMesh
from stages.physics.asset import SimAsset
from stages.physics.colliders import NOT_FOUND, Colliders, convex_parts, lightened, one_hull
from stages.physics.config import PhysicsConfig
from stages.physics.mass import ASSUMED, GIVEN, MassProperties, mass_properties
from stages.physics.materials import MATERIALS, UNKNOWN
from stages.physics.shapes import Shape, convex_hull, open_edges
from stages.physics.stable import StablePose, stable_poses
from stages.physics.support import Seen, Support, above_ground, find_support, seen_plane
from stages.physics.surface_distance import between

HULL_VERTICES = 64
STABLE_VERTICES = 400
LEAST_ERROR_M, ERROR_OF_SIZE = 0.001, 0.01
BELOW_OF_SIZE = 0.02
SETTLES_DEG = 3.0
"""a seen support that is farther from every stable pose than this is worth a word"""


class Unfit(Exception):
    """Why this twin cannot be simulated."""


@dataclass(frozen=True)
class Made:
    """The asset in the upright frame, and what is told of it."""

    asset: SimAsset
    colliders: Colliders
    support: Support
    poses: list[StablePose]
    """up in the upright frame"""
    error_m: float
    how_material: str
    seen: Seen | None
    size_m: float
    hull_max_m: float
    """largest distance of the one hull from the mesh: what the parts are better than"""

    @property
    def method(self) -> str:
        """For the report."""
        if self.asset.use_hull:
            return "convex hull"
        return "convex parts (CoACD)" if self.colliders.pieces else "convex parts (patches of the wall)"

    @property
    def figures(self) -> dict[str, Any]:
        """For the report, with units in the keys."""
        mass, distance = self.asset.mass, self.colliders.distance
        return {
            "mass_kg": round(mass.mass_kg, 4), "mass_from": mass.how_mass, "density_kg_m3": round(mass.density_kg_m3, 1),
            "volume_cm3": round(1e6 * mass.volume_m3, 3), "area_cm2": round(1e4 * mass.area_m2, 2), "mass_model": mass.model,
            "centre_height_mm": round(1000 * float(mass.centre[2]), 3),
            **{f"principal_moment_{k + 1}_kg_mm2": float(f"{1e6 * m:.5g}") for k, m in enumerate(mass.principal[0])},
            "friction_static": self.asset.material.static_friction, "friction_dynamic": self.asset.material.dynamic_friction,
            "restitution": self.asset.material.restitution, "surface_from": f"{self.how_material} material",
            "colliders": len(self.asset.active), "collider_mean_mm": round(1000 * distance.mean_m, 3),
            "collider_max_mm": round(1000 * distance.max_m, 3), "collider_tolerance_mm": round(1000 * self.error_m, 3),
            "one_hull_max_mm": round(1000 * self.hull_max_m, 2),
            "collider_search": self.colliders.why, "support": self.support.source,
            "support_gap_mm": None if self.seen is None else round(1000 * self.seen.gap_m, 3),
            "support_to_stable_deg": None if self.support.settles_deg is None else round(self.support.settles_deg, 2),
            "stable_poses": len(self.poses), "never_seen_percent": round(100 * self.asset.facts["never_seen_share"], 1),
        }  # fmt: skip

    @property
    def warnings(self) -> list[str]:
        """In plain words."""
        out, found = [], self.colliders
        if self.seen is not None and self.seen.gap_m < -BELOW_OF_SIZE * self.size_m:
            out.append(
                f"The mesh reaches {-1000 * self.seen.gap_m:.1f} mm below the plane on which the object stood, where nobody saw it. "
                "For simulators it is cut there; the twin itself is not."
            )
        if not found.within:
            out.append(
                f"The colliders lie up to {1000 * found.distance.max_m:.1f} mm from the mesh, {1000 * self.error_m:.1f} mm were "
                f"asked for: {found.why}. For closer ones raise physics.{'cpu_limit_s' if found.why == NOT_FOUND else 'max_hulls'}."
            )
        if self.support.settles_deg is not None and self.support.settles_deg > SETTLES_DEG:
            out.append(
                f"The object was seen to stand {self.support.settles_deg:.0f} degrees from the nearest pose in which its hull is "
                "stable: it leant on something, or its underside was not seen; in a simulator it will tip to that pose."
            )
        return out


def make(
    full: SurfaceMesh,
    textured: TexturedMesh,
    scene: np.ndarray,
    config: PhysicsConfig,
    context: StageContext,
    levels: Callable[[], Sequence[Level]] = tuple,
) -> Made:
    """`scene` (S, 3): points round the object; `levels` of `textured`, asked for last. All in the object frame. Raises Unfit, NoParts."""
    mesh, material = Shape(full.vertices, full.faces), MATERIALS[config.material]
    how = ASSUMED if config.material == UNKNOWN else GIVEN
    if opened := open_edges(mesh.faces):
        raise Unfit(
            f"the mesh is not closed ({opened:,} edges without a partner), so that it has no volume and no inside"
        )
    try:
        seen = seen_plane(mesh, scene, context.seed)
        if seen is not None:
            mesh = Shape(above_ground(mesh.vertices, seen.up, seen.height), mesh.faces)
        mass = mass_properties(
            mesh,
            material,
            how,
            config.mass_kg,
            density_kg_m3=config.density_kg_m3,
            wall_m=config.wall_mm and config.wall_mm / 1000,
        )
        poses = stable_poses(convex_hull(mesh.vertices, STABLE_VERTICES), mass.centre)
    except ValueError as e:
        raise Unfit(f"the mesh cannot be simulated: {e}") from e
    support = find_support(mesh, seen, mass.centre, poses, keep_frame=config.frame == "twin")
    turn = support.upright_from_object
    upright = mesh.moved(turn)
    error = (
        config.collider_error_mm / 1000 if config.collider_error_mm else max(LEAST_ERROR_M, ERROR_OF_SIZE * mesh.size)
    )
    if config.colliders == "hull":
        found = one_hull(upright)
    else:
        found = convex_parts(
            upright,
            error,
            config.max_hulls,
            config.cpu_limit_s,
            workers=context.workers,
            seed=context.seed,
            note=context.progress,
        )
    hull = convex_hull(upright.vertices, HULL_VERTICES)
    facts = {
        "label": config.label,
        "qcode": config.qcode,
        "author": config.author,
        "licence": config.licence,
        "made_by": "stereotwin",
        "never_seen_share": _never_seen(full),
        "mass": mass.how_mass,
        "surface": f"{how} material {config.material}",
        "material": config.material,
    }
    shown, *lighter = (_on_ground(m, seen) for m in (textured, *levels()))
    asset = SimAsset(
        config.label,
        _moved(shown, turn),
        found.parts,
        hull,
        closed=lightened(upright),
        use_hull=config.colliders == "hull",
        mass=in_frame(mass, turn),
        material=material,
        facts=facts,
        levels=[_moved_level(level, turn) for level in lighter],
    )
    return Made(
        asset,
        found,
        support,
        [StablePose(turn[:3, :3] @ p.up, p.probability) for p in poses],
        error_m=error,
        how_material=how,
        seen=seen,
        size_m=mesh.size,
        hull_max_m=between(upright, [hull]).max_m,
    )


def in_frame(mass: MassProperties, b_from_a: np.ndarray) -> MassProperties:
    """The same properties in another frame."""
    turn = b_from_a[:3, :3]
    inertia = turn @ mass.inertia @ turn.T
    return replace(mass, centre=transform(b_from_a, mass.centre), inertia=(inertia + inertia.T) / 2)


def _on_ground(mesh: TexturedMesh | Level, seen: Seen | None) -> TexturedMesh | Level:
    return mesh if seen is None else replace(mesh, vertices=above_ground(mesh.vertices, seen.up, seen.height))


def _moved(mesh: TexturedMesh, b_from_a: np.ndarray) -> TexturedMesh:
    return replace(mesh, vertices=transform(b_from_a, mesh.vertices), normals=mesh.normals @ b_from_a[:3, :3].T)


def _moved_level(level: Level, b_from_a: np.ndarray) -> Level:
    turn = b_from_a[:3, :3].T
    along = np.c_[level.tangents[:, :3] @ turn, level.tangents[:, 3]]
    return replace(level, vertices=transform(b_from_a, level.vertices), normals=level.normals @ turn, tangents=along)


def _never_seen(full: SurfaceMesh) -> float:
    """Share of the surface that no camera saw: confidence 0."""
    c = full.vertices[full.faces]
    area = np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1)
    return round(float((area * (full.confidence[full.faces] == 0).mean(1)).sum() / area.sum()), 4)
