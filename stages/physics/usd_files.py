"""OpenUSD of one asset: twin.usda with physics, meshes/twin_visual.usdc with what one sees. Metres, kilograms, z up.

Layout, labels, thumbnail and metadata follow NVIDIA's SimReady profile Robotics-Prop 4.0.0. What only the user knows (author, licence,
Q-code) is written where it was given.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.images import write_rgb
from stages.core.render import turntable_rig
from stages.core.render_textured import render_textured
from stages.core.usd import bind, new_stage, picture_material, plain_mesh, textured_mesh
from stages.physics.asset import MESHES, TEXTURE, SimAsset
from stages.physics.shapes import Shape
from stages.physics.support import Z_UP_FROM_OBJECT

VARIANTS = ("parts", "hull", "mesh")
MAIN, VISUAL = "twin.usda", "twin_visual.usdc"
THUMBNAIL_PX = 256


def write_usd(folder: Path, asset: SimAsset) -> None:
    """Both layers in `folder`, with a thumbnail."""
    _write_visual(folder / MESHES / VISUAL, asset)
    _write_physics(folder / MAIN, asset)
    write_rgb(folder / f".thumbs/{THUMBNAIL_PX}x{THUMBNAIL_PX}/{MAIN}.png", _thumbnail(asset))


def _write_visual(path: Path, asset: SimAsset) -> None:
    stage, root = new_stage(str(path), "Z", "/visual")
    variants = root.GetVariantSets().AddVariantSet("lod")
    for name, mesh in {"lod0": asset.visual, **asset.coarser}.items():
        variants.AddVariant(name)
        variants.SetVariantSelection(name)
        relief = f"./normal_{name}.png" if name in asset.coarser else ""
        with variants.GetVariantEditContext():
            shown = textured_mesh(stage, "/visual/mesh", mesh)
            material = picture_material(stage, "/visual/material", f"./{TEXTURE}", asset.roughness, relief=relief)
            _label(material.GetPrim(), "material", [asset.facts["material"]])
            bind(shown, material)
    variants.SetVariantSelection("lod0")
    stage.GetRootLayer().Save()


def _write_physics(path: Path, asset: SimAsset) -> None:
    from pxr import Kind, Usd, UsdGeom, UsdPhysics

    stage, root = new_stage(str(path), "Z", f"/{asset.name}")
    Usd.ModelAPI(root).SetKind(Kind.Tokens.component)
    Usd.ModelAPI(root).SetAssetName(asset.name)
    root.SetCustomDataByKey("stereotwin", asset.facts)
    stage.GetRootLayer().customLayerData = {"SimReady_Metadata": _metadata(asset)}
    _label(root, "class", [asset.label])
    _label(root, "wikidata_qcode", [asset.facts["qcode"]] if asset.facts["qcode"] else [])
    UsdPhysics.RigidBodyAPI.Apply(root)
    _mass(root, asset)
    visual = UsdGeom.Xform.Define(stage, f"/{asset.name}/visual").GetPrim()
    visual.GetReferences().AddReference(f"./{MESHES}/{VISUAL}")
    surface = _surface(stage, asset)
    variants = root.GetVariantSets().AddVariantSet("colliders")
    chosen = {
        "parts": [(f"part_{k:03d}", p) for k, p in enumerate(asset.parts)],
        "hull": [("hull", asset.hull)],
        "mesh": [("closed", asset.closed)],
    }
    for name in VARIANTS:
        variants.AddVariant(name)
        variants.SetVariantSelection(name)
        with variants.GetVariantEditContext():
            UsdGeom.Scope.Define(stage, f"/{asset.name}/colliders")
            for stem, shape in chosen[name]:
                _collider(
                    stage,
                    f"/{asset.name}/colliders/{stem}",
                    shape,
                    "sdf" if name == "mesh" else "convexHull",
                    surface=surface,
                )
    variants.SetVariantSelection("hull" if asset.use_hull else "parts")
    stage.GetRootLayer().Save()


def _metadata(asset: SimAsset) -> dict[str, Any]:
    """Without the date, which the sidecar twin.json beside the finished twin has: the same input is the same bytes on any day."""
    from pxr import Gf

    size = np.ptp(asset.visual.vertices, axis=0)
    given = {"author": asset.facts["author"], "asset_license": asset.facts["licence"], "qcode": asset.facts["qcode"]}
    return {
        "asset_name": asset.name,
        "asset_type": "prop",
        "category": asset.label,
        "source_file": "mesh.ply",
        "rigid_body_count": 1,
        "asset_extents": Gf.Vec3f(*map(float, size)),
        "mass": float(asset.mass.mass_kg),
        "generator": "stereotwin",
        **{key: value for key, value in given.items() if value},
    }


def _thumbnail(asset: SimAsset) -> np.ndarray:
    """(THUMBNAIL_PX, THUMBNAIL_PX, 3) uint8 from the front, a little above."""
    shown = replace(
        asset.visual, vertices=asset.visual.vertices @ Z_UP_FROM_OBJECT
    )  # pictures are taken in OpenCV axes
    rig, poses = turntable_rig(shown.vertices, THUMBNAIL_PX)
    return np.clip(np.rint(render_textured(shown, poses[0], rig)[0]), 0, 255).astype(np.uint8)


def _label(prim, taxonomy: str, labels: list[str]) -> None:
    from pxr import UsdSemantics

    if labels:
        UsdSemantics.LabelsAPI.Apply(prim, taxonomy).CreateLabelsAttr(labels)


def _mass(root, asset: SimAsset) -> None:
    from pxr import Gf, UsdPhysics

    moments, axes = asset.mass.principal
    api = UsdPhysics.MassAPI.Apply(root)
    api.CreateMassAttr(asset.mass.mass_kg)
    api.CreateCenterOfMassAttr(Gf.Vec3f(*map(float, asset.mass.centre)))
    api.CreateDiagonalInertiaAttr(Gf.Vec3f(*map(float, moments)))
    turn = Gf.Matrix3d(*map(float, axes.T.ravel())).ExtractRotation().GetQuat()  # Gf multiplies rows from the left
    api.CreatePrincipalAxesAttr(Gf.Quatf(turn))


def _surface(stage, asset: SimAsset):
    from pxr import UsdPhysics, UsdShade

    material = UsdShade.Material.Define(stage, f"/{asset.name}/physics_material")
    api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
    api.CreateStaticFrictionAttr(asset.material.static_friction)
    api.CreateDynamicFrictionAttr(asset.material.dynamic_friction)
    api.CreateRestitutionAttr(asset.material.restitution)
    api.CreateDensityAttr(asset.mass.density_kg_m3)
    _label(material.GetPrim(), "material", [asset.facts["material"]])
    return material


def _collider(stage, path: str, shape: Shape, approximation: str, surface) -> None:
    from pxr import UsdGeom, UsdPhysics, UsdShade, Vt

    mesh = plain_mesh(stage, path, np.asarray(shape.vertices), shape.faces)
    mesh.CreatePurposeAttr(UsdGeom.Tokens.guide)
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(shape.planes[0], np.float32)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.uniform)
    UsdPhysics.CollisionAPI.Apply(mesh.GetPrim())
    UsdPhysics.MeshCollisionAPI.Apply(mesh.GetPrim()).CreateApproximationAttr(approximation)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(surface, UsdShade.Tokens.weakerThanDescendants, "physics")
