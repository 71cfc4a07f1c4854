"""USDZ: metres, +Y up, st origin bottom-left."""

from __future__ import annotations

import struct
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.core.errors import StageError
from stages.core.glb import gltf_from_object
from stages.core.meshes import TexturedMesh
from stages.core.usd import bind, new_stage, picture_material, textured_mesh

_LOCAL_HEADER, _EXTRA_HEADER = 30, 4
"""bytes of a zip's local header before its name, and of an extra field before its data"""
_PADDING_ID = 0x1986
"""of the extra field that holds padding"""


def write_usdz(
    path: Path, mesh: TexturedMesh, texture: Path, roughness: float, surface_map: Path | None = None
) -> None:
    """Write `path` (.usdz) with the picture at `texture`, and that of roughness and metalness, inside, then read it back; raises
    StageError when size, unit or axis differ."""
    position, normal = gltf_from_object(mesh.vertices, mesh.normals)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        inner = Path(folder) / "twin.usdc"
        inside = [texture] if surface_map is None else [texture, surface_map]
        pictures = {p.name: p.read_bytes() for p in inside}
        for name, data in pictures.items():
            (Path(folder) / name).write_bytes(data)
        stage, _ = new_stage(str(inner), "Y", "/twin")
        shown = textured_mesh(stage, "/twin/mesh", replace(mesh, vertices=position, normals=normal))
        bind(
            shown,
            picture_material(
                stage,
                "/twin/material",
                texture.name,
                roughness,
                relief="",
                surface_map="" if surface_map is None else surface_map.name,
            ),
        )
        stage.GetRootLayer().Save()
        pack(path, {inner.name: inner.read_bytes(), **pictures})
    _verify(path, position)


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


def _verify(path: Path, expected: np.ndarray) -> None:
    points, unit, up = read_usdz(path)
    if unit != 1.0 or up != "Y" or points.shape != expected.shape or not np.allclose(points, expected, atol=1e-6):
        raise StageError(
            f"{path.name} does not read back as it was written (unit {unit} m, up {up})",
            "set package.usd=off and report it",
        )
