"""USDZ through usd-core (Apache-2.0 with TOST licence): the only file that imports pxr. Metres, +Y up, st origin bottom-left.

The stage says metersPerUnit = 1 itself: without it USD means centimetres, and the twin would come out 100 times too small or large.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.core.errors import StageError
from stages.core.glb import gltf_from_object
from stages.core.meshes import TexturedMesh

_LOCAL_HEADER, _EXTRA_HEADER = 30, 4
"""bytes of a zip's local header before its name, and of an extra field before its data"""
_PADDING_ID = 0x1986
"""of the extra field that holds padding"""


def write_usdz(path: Path, mesh: TexturedMesh, texture: Path, roughness: float) -> None:
    """Write `path` (.usdz) with the picture at `texture` inside, then read it back; raises StageError when size, unit or axis differ."""
    from pxr import Usd, UsdGeom

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        inner = Path(folder) / "twin.usdc"
        (Path(folder) / texture.name).write_bytes(texture.read_bytes())
        stage = Usd.Stage.CreateNew(str(inner))
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        root = UsdGeom.Xform.Define(stage, "/twin")
        stage.SetDefaultPrim(root.GetPrim())
        _material(stage, _mesh(stage, mesh), texture.name, roughness)
        stage.GetRootLayer().Save()
        pack(path, {inner.name: inner.read_bytes(), texture.name: texture.read_bytes()})
    _verify(path, gltf_from_object(mesh.vertices, mesh.normals)[0])


def pack(path: Path, files: Mapping[str, bytes]) -> None:
    """An archive as the USDZ specification wants it: stored, each file's data at a multiple of 64 bytes, the layer first. Nothing in it
    depends on the time, so that the same twin is the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            head = _LOCAL_HEADER + len(name.encode()) + _EXTRA_HEADER
            padding = -(archive.fp.tell() + head) % 64
            entry.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
            archive.writestr(entry, data)


def read_usdz(path: Path) -> tuple[np.ndarray, float, str]:
    """Points (V, 3) as stored, metres per unit, up axis ("Y" or "Z") of a .usdz file."""
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(path))
    meshes = [p for p in stage.Traverse() if p.IsA(UsdGeom.Mesh)]
    points = np.array(UsdGeom.Mesh(meshes[0]).GetPointsAttr().Get(), float)
    return points, UsdGeom.GetStageMetersPerUnit(stage), UsdGeom.GetStageUpAxis(stage)


def _mesh(stage, mesh: TexturedMesh):
    from pxr import Sdf, UsdGeom, Vt

    prim = UsdGeom.Mesh.Define(stage, "/twin/mesh")
    position, normal = (np.ascontiguousarray(a, np.float32) for a in gltf_from_object(mesh.vertices, mesh.normals))
    prim.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(position))
    prim.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    prim.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(mesh.faces.reshape(-1), np.int32)))
    prim.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(normal))
    prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    prim.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([position.min(0), position.max(0)])))
    st = UsdGeom.PrimvarsAPI(prim).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    st.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(mesh.uv, np.float32)))
    st.SetIndices(Vt.IntArray.FromNumpy(np.ascontiguousarray(mesh.faces_uv.reshape(-1), np.int32)))
    return prim


def _material(stage, mesh, picture: str, roughness: float) -> None:
    from pxr import Sdf, UsdShade

    material = UsdShade.Material.Define(stage, "/twin/material")
    surface = UsdShade.Shader.Define(stage, "/twin/material/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(roughness)
    surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    reader = UsdShade.Shader.Define(stage, "/twin/material/st")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    image = UsdShade.Shader.Define(stage, "/twin/material/texture")
    image.CreateIdAttr("UsdUVTexture")
    image.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(picture)
    image.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    for side in ("wrapS", "wrapT"):
        image.CreateInput(side, Sdf.ValueTypeNames.Token).Set("clamp")
    image.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(reader.CreateOutput("result", Sdf.ValueTypeNames.Float2))
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(image.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _verify(path: Path, expected: np.ndarray) -> None:
    points, unit, up = read_usdz(path)
    if unit != 1.0 or up != "Y" or points.shape != expected.shape or not np.allclose(points, expected, atol=1e-6):
        raise StageError(f"{path.name} does not read back as it was written (unit {unit} m, up {up})", "set package.usd=off and report it")
