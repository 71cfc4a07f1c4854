"""OpenUSD of one asset: twin.usda with physics, twin_visual.usdc with what one sees. Metres, kilograms, z up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.usd import bind, new_stage, picture_material, plain_mesh, textured_mesh
from stages.physics.asset import MESHES, TEXTURE, SimAsset
from stages.physics.shapes import Shape

VARIANTS = ("parts", "hull", "mesh")
VISUAL = "twin_visual.usdc"


def write_usd(folder: Path, asset: SimAsset) -> None:
    """Both layers in `folder`."""
    _write_visual(folder / VISUAL, asset)
    _write_physics(folder / "twin.usda", asset)


def _write_visual(path: Path, asset: SimAsset) -> None:
    stage, root = new_stage(str(path), "Z", "/visual")
    variants = root.GetVariantSets().AddVariantSet("lod")
    for name, mesh in {"lod0": asset.visual, **asset.coarser}.items():
        variants.AddVariant(name)
        variants.SetVariantSelection(name)
        relief = f"./{MESHES}/normal_{name}.png" if name in asset.coarser else ""
        with variants.GetVariantEditContext():
            shown = textured_mesh(stage, "/visual/mesh", mesh)
            bind(shown, picture_material(stage, "/visual/material", f"./{MESHES}/{TEXTURE}", asset.roughness, relief))
    variants.SetVariantSelection("lod0")
    stage.GetRootLayer().Save()


def _write_physics(path: Path, asset: SimAsset) -> None:
    from pxr import Kind, Usd, UsdGeom, UsdPhysics

    stage, root = new_stage(str(path), "Z", f"/{asset.name}")
    Usd.ModelAPI(root).SetKind(Kind.Tokens.component)
    Usd.ModelAPI(root).SetAssetName(asset.name)
    root.SetCustomDataByKey("stereotwin", asset.facts)
    _label(root, asset)
    UsdPhysics.RigidBodyAPI.Apply(root)
    _mass(root, asset)
    visual = UsdGeom.Xform.Define(stage, f"/{asset.name}/visual").GetPrim()
    visual.GetReferences().AddReference(f"./{VISUAL}")
    surface = _surface(stage, asset)
    variants = root.GetVariantSets().AddVariantSet("colliders")
    chosen = {"parts": [(f"part_{k:03d}", p) for k, p in enumerate(asset.parts)], "hull": [("hull", asset.hull)],
              "mesh": [("closed", asset.closed)]}
    for name in VARIANTS:
        variants.AddVariant(name)
        variants.SetVariantSelection(name)
        with variants.GetVariantEditContext():
            UsdGeom.Scope.Define(stage, f"/{asset.name}/colliders")
            for stem, shape in chosen[name]:
                _collider(stage, f"/{asset.name}/colliders/{stem}", shape, "sdf" if name == "mesh" else "convexHull", surface)
    variants.SetVariantSelection("hull" if asset.use_hull else "parts")
    stage.GetRootLayer().Save()


def _label(root, asset: SimAsset) -> None:
    from pxr import UsdSemantics

    for taxonomy, labels in (("class", [asset.label]), ("wikidata_qcode", [asset.facts["qcode"]] if asset.facts.get("qcode") else [])):
        if labels:
            UsdSemantics.LabelsAPI.Apply(root, taxonomy).CreateLabelsAttr(labels)


def _mass(root, asset: SimAsset) -> None:
    from pxr import Gf, UsdPhysics

    moments, axes = asset.mass.principal
    api = UsdPhysics.MassAPI.Apply(root)
    api.CreateMassAttr(asset.mass.mass_kg)
    api.CreateCenterOfMassAttr(Gf.Vec3f(*map(float, asset.mass.centre)))
    api.CreateDiagonalInertiaAttr(Gf.Vec3f(*map(float, moments)))
    turn = Gf.Matrix3d(*map(float, axes.T.ravel())).ExtractRotation().GetQuat()      # Gf multiplies rows from the left
    api.CreatePrincipalAxesAttr(Gf.Quatf(turn))


def _surface(stage, asset: SimAsset):
    from pxr import UsdPhysics, UsdShade

    material = UsdShade.Material.Define(stage, f"/{asset.name}/physics_material")
    api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
    api.CreateStaticFrictionAttr(asset.material.static_friction)
    api.CreateDynamicFrictionAttr(asset.material.dynamic_friction)
    api.CreateRestitutionAttr(asset.material.restitution)
    api.CreateDensityAttr(asset.mass.density_kg_m3)
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
