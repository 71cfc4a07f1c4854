"""The folder sim/, and the record of all its numbers with how each came about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.twin_frame import TWIN_FROM_OBJECT
from stages.physics.make import Made
from stages.physics.mass import COMPUTED
from stages.physics.obj_files import write_meshes
from stages.physics.usd_files import write_usd
from stages.physics.xml_files import write_mjcf, write_scene, write_sdf, write_urdf

AXES = "metres; z up, ground at 0, origin under the centre of mass"


def write_sim(folder: Path, made: Made) -> dict[str, Any]:
    """Fill the new `folder`; the record also goes to its physics.json."""
    folder.mkdir()
    asset = made.asset
    write_meshes(folder / "meshes", asset)
    write_mjcf(folder / "twin.xml", asset)
    write_scene(folder / "scene.xml", asset, "twin.xml")
    write_urdf(folder / "twin.urdf", asset)
    write_sdf(folder / "twin.sdf", asset)
    write_usd(folder, asset)
    record = physics_record(made)
    (folder / "physics.json").write_text(json.dumps(record, indent=1, allow_nan=False))
    return record


def physics_record(made: Made) -> dict[str, Any]:
    """Plain data. Every number as {"value", "unit", "how"}; poses and frames as matrices."""
    asset, mass, support = made.asset, made.asset.mass, made.support

    def entry(value, unit, how):
        return {"value": np.asarray(value, float).tolist(), "unit": unit, "how": how}

    inertia_how = f"{COMPUTED}, {mass.model}, for that mass"
    material = f"{made.how_material} material"
    return {
        "version": 1,
        "label": asset.label,
        **({"qcode": asset.facts["qcode"]} if asset.facts["qcode"] else {}),
        "frame": AXES if support.source != "twin frame" else "metres; z up, origin of the twin's frame",
        "upright_from_object": (support.upright_from_object @ _object_from_twin()).tolist(),
        "object": "the twin frame, as in poses.json",
        "support": {"source": support.source, "reason": support.reason, "to_stable_pose_deg": support.settles_deg,
                    **({} if made.seen is None else {"mesh_above_plane_m": made.seen.gap_m, "plane_points": made.seen.points})},
        "stable_poses": [{"up": p.up.tolist(), "probability": round(p.probability, 4)} for p in made.poses],
        "mass": entry(mass.mass_kg, "kg", mass.how_mass),
        "volume": entry(mass.volume_m3, "m3", COMPUTED),
        "area": entry(mass.area_m2, "m2", COMPUTED),
        "density": entry(mass.density_kg_m3, "kg/m3", "mass by volume" if mass.how_mass == "given" else mass.how_mass.split(" times")[0]),
        "centre_of_mass": entry(mass.centre, "m", f"{COMPUTED}, {mass.model}"),
        "inertia": entry(mass.inertia, "kg m2", inertia_how),
        "principal_moments": entry(mass.principal[0], "kg m2", inertia_how),
        "static_friction": entry(asset.material.static_friction, "", material),
        "dynamic_friction": entry(asset.material.dynamic_friction, "", material),
        "restitution": entry(asset.material.restitution, "", material),
        "colliders": {"kind": made.method, "count": len(asset.active), "mean_m": made.colliders.distance.mean_m,
                      "max_m": made.colliders.distance.max_m, "one_hull_max_m": made.hull_max_m,
                      "tolerance_m": made.error_m, "within": made.colliders.within,
                      "search": made.colliders.why},
        "never_seen_share": asset.facts["never_seen_share"],
    }  # fmt: skip


def _object_from_twin() -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = TWIN_FROM_OBJECT
    return out
