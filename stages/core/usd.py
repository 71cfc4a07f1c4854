"""Meshes and materials in USD through usd-core (Apache-2.0 with TOST licence), for every file that is written in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.core.levels import Level
from stages.core.meshes import TexturedMesh


def new_stage(path: str, up: str, root: str) -> tuple[Any, Any]:
    """(stage, root prim): metres and kilograms, `up` "Y" or "Z". Without the unit USD means centimetres: 100 times too small or large."""
    from pxr import Usd, UsdGeom, UsdPhysics

    stage = Usd.Stage.CreateNew(path)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, up)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    prim = UsdGeom.Xform.Define(stage, root).GetPrim()
    stage.SetDefaultPrim(prim)
    return stage, prim


def plain_mesh(stage, path: str, vertices: np.ndarray, faces: np.ndarray):
    """UsdGeom.Mesh of (V, 3) and (F, 3), without subdivision."""
    from pxr import UsdGeom, Vt

    prim = UsdGeom.Mesh.Define(stage, path)
    position = np.ascontiguousarray(vertices, np.float32)
    prim.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(position))
    prim.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    prim.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(faces.reshape(-1), np.int32)))
    prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    prim.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([position.min(0), position.max(0)])))
    return prim


def textured_mesh(stage, path: str, mesh: TexturedMesh | Level):
    """`plain_mesh` with normals and `st`; the mesh in the axes of the file, st origin bottom-left."""
    from pxr import Sdf, UsdGeom, Vt

    prim = plain_mesh(stage, path, mesh.vertices, mesh.faces)
    prim.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(mesh.normals, np.float32)))
    prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    st = UsdGeom.PrimvarsAPI(prim).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    st.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(mesh.uv, np.float32)))
    st.SetIndices(Vt.IntArray.FromNumpy(np.ascontiguousarray(mesh.faces_uv.reshape(-1), np.int32)))
    return prim


def picture_material(stage, path: str, picture: str, roughness: float, relief: str = "", surface_map: str = ""):
    """UsdShade.Material that shows the picture at the relative path, matt; `relief`: that of a normal map; `surface_map`: green roughness,
    blue metalness, in place of one roughness."""
    from pxr import Sdf, UsdShade

    material = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, f"{path}/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(roughness)
    surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    reader = UsdShade.Shader.Define(stage, f"{path}/st")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    st = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    image = _picture(stage, f"{path}/texture", picture, "sRGB", st=st)
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
        image.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
    )
    if surface_map:
        image = _picture(stage, f"{path}/surface_map", surface_map, "raw", st=st)
        for name, channel in (("roughness", "g"), ("metallic", "b")):
            surface.GetInput(name).ConnectToSource(image.CreateOutput(channel, Sdf.ValueTypeNames.Float))
    if relief:
        image = _picture(stage, f"{path}/relief", relief, "raw", st=st)
        image.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set((2, 2, 2, 1))
        image.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set((-1, -1, -1, 0))
        surface.CreateInput("normal", Sdf.ValueTypeNames.Normal3f).ConnectToSource(
            image.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
        )
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    return material


def _picture(stage, path: str, file: str, space: str, st):
    from pxr import Sdf, UsdShade

    image = UsdShade.Shader.Define(stage, path)
    image.CreateIdAttr("UsdUVTexture")
    image.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(file)
    image.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(space)
    for side in ("wrapS", "wrapT"):
        image.CreateInput(side, Sdf.ValueTypeNames.Token).Set("clamp")
    image.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(st)
    return image


def bind(prim, material) -> None:
    """The material for display."""
    from pxr import UsdShade

    UsdShade.MaterialBindingAPI.Apply(prim.GetPrim()).Bind(material)
