"""Writes the GLB, OBJ and PLY files: each with the axes that its importers take for granted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.core.glb import encode_glb, gltf_from_object
from stages.core.gltf_mesh import GltfMesh
from stages.core.levels import Level
from stages.core.meshes import SurfaceMesh, TexturedMesh, write_ply
from stages.core.texels.corners import nearest_confidence, single_index
from stages.core.twin_frame import TWIN_AXES, TWIN_FROM_OBJECT, Z_UP_AXES, Z_UP_FROM_TWIN, turned_mesh
from stages.package.obj import mtl_text, obj_text

TWIN_NAMES = ("twin.obj", "twin.mtl", "twin.png")
ROUGHNESS_NAME = "twin_roughness.png"
NVIDIA_NAMES = ("textured_mesh.obj", "material.mtl", "material_0.png")


def write_obj(
    folder: Path,
    mesh: TexturedMesh,
    texture: Path,
    names: tuple[str, str, str] = TWIN_NAMES,
    roughness: Path | None = None,
) -> None:
    """twin.obj, twin.mtl and twin.png in `folder`, or files of other names; twin_roughness.png where there is such a map."""
    obj, mtl, png = names
    shutil.copyfile(texture, folder / png)
    if roughness is not None:
        shutil.copyfile(roughness, folder / ROUGHNESS_NAME)
    (folder / mtl).write_text(mtl_text(png, "" if roughness is None else ROUGHNESS_NAME))
    (folder / obj).write_text(obj_text(mesh, mtl))


def write_plys(folder: Path, source: SurfaceMesh) -> None:
    """mesh.ply, in the frame of poses.json (y up: three.js, MeshLab), and twin.ply (z up: Blender, CloudCompare) in `folder`."""
    mesh = turned_mesh(source, TWIN_FROM_OBJECT)
    write_ply(folder / "mesh.ply", mesh, TWIN_AXES)
    write_ply(folder / "twin.ply", turned_mesh(mesh, Z_UP_FROM_TWIN), Z_UP_AXES)


@dataclass(frozen=True)
class Look:
    """image: jpeg or png, with its quality; roughness of the material; compression of the mesh: none, draco or meshopt; surface_map: a
    PNG file of roughness and metalness, in place of one roughness."""

    image: str = "jpeg"
    jpeg_quality: int = 95
    roughness: float = 0.9
    compression: str = "none"
    surface_map: bytes = b""


PLAIN = Look()


def write_glb(path: Path, mesh: TexturedMesh, source: SurfaceMesh, look: Look = PLAIN) -> int:
    """Write the GLB; `source` gives the confidence. Returns the number of vertices, those on seams counted once per chart."""
    vertex, corner, triangles = single_index(mesh)
    position, normal = gltf_from_object(mesh.vertices[vertex], mesh.normals[vertex])
    uv = np.stack([mesh.uv[corner, 0], 1 - mesh.uv[corner, 1]], 1)
    confidence = nearest_confidence(mesh.vertices[vertex], source)
    picture = encode_picture(mesh.texture, look.image, look.jpeg_quality)
    made = GltfMesh(
        position, normal, uv, confidence, triangles=triangles, image=picture, surface_image=look.surface_map
    )
    path.write_bytes(encode_glb(made, look.roughness, look.compression))
    return len(vertex)


def write_level_glb(path: Path, level: Level, texture: np.ndarray, source: SurfaceMesh, look: Look = PLAIN) -> None:
    """The GLB of a coarser level, with tangents and its normal map."""
    mesh = TexturedMesh(level.vertices, level.faces, level.uv, level.faces_uv, normals=level.normals, texture=texture)
    vertex, corner, triangles = single_index(mesh)
    position, normal = gltf_from_object(mesh.vertices[vertex], mesh.normals[vertex])
    along = gltf_from_object(level.tangents[corner, :3], level.tangents[corner, :3])[0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    uv = np.stack([mesh.uv[corner, 0], 1 - mesh.uv[corner, 1]], 1)
    confidence = nearest_confidence(mesh.vertices[vertex], source)
    pictures = (
        encode_picture(texture, look.image, look.jpeg_quality),
        encode_picture(level.normal_map, "png", look.jpeg_quality),
    )
    tangent = np.c_[along, level.tangents[corner, 3]]
    made = GltfMesh(
        position,
        normal,
        uv,
        confidence,
        triangles=triangles,
        image=pictures[0],
        tangent=tangent,
        normal_image=pictures[1],
        surface_image=look.surface_map,
    )
    path.write_bytes(encode_glb(made, look.roughness, look.compression))


def encode_picture(texture: np.ndarray, kind: str, jpeg_quality: int) -> bytes:
    """(S, S, 3) uint8 RGB as the bytes of a "jpeg" (colour not subsampled) or "png" file."""
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        jpeg_quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    flags = flags if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    ok, data = cv2.imencode(".jpg" if kind == "jpeg" else ".png", cv2.cvtColor(texture, cv2.COLOR_RGB2BGR), flags)
    if not ok:
        raise ValueError(f"cannot encode the texture as {kind}")
    return data.tobytes()
