"""The completed surface as files, in the twin frame: mesh.ply with a property `invented`, twin.glb, and the texture with its map of what is
invented."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.core.glb import encode_glb, gltf_from_object
from stages.core.gltf_mesh import GltfMesh
from stages.core.images import write_mask, write_rgb
from stages.core.meshes import SurfaceMesh, TexturedMesh, write_ply
from stages.core.texels.corners import nearest_confidence, single_index
from stages.core.twin_frame import TWIN_AXES, TWIN_FROM_OBJECT, turned_mesh
from stages.generate.completion import Completed
from stages.generate.paint import Painted


def write_completed(folder: Path, found: Completed, painted: Painted, source: SurfaceMesh) -> None:
    """`source`: the twin's mesh, whose confidence the measured vertices keep; it is 0 where the model made them."""
    folder.mkdir()
    confidence = np.where(found.invented, 0, nearest_confidence(found.vertices, source)).astype(np.float32)
    mesh = SurfaceMesh(found.vertices, found.faces, _vertex_colours(painted.mesh), confidence)
    write_ply(folder / "mesh.ply", turned_mesh(mesh, TWIN_FROM_OBJECT), TWIN_AXES, found.invented)
    write_rgb(folder / "texture.png", painted.mesh.texture)
    write_mask(folder / "invented.png", painted.invented)
    (folder / "twin.glb").write_bytes(_glb(painted.mesh, confidence))


def _vertex_colours(mesh: TexturedMesh) -> np.ndarray:
    """(V, 3) uint8 of the texel at each vertex."""
    size = mesh.texture.shape[0]
    uv = np.empty((len(mesh.vertices), 2))
    uv[mesh.faces] = mesh.uv[mesh.faces_uv]
    column, row = (np.clip((c * size).astype(int), 0, size - 1) for c in (uv[:, 0], 1 - uv[:, 1]))
    return mesh.texture[row, column]


def _glb(mesh: TexturedMesh, confidence: np.ndarray) -> bytes:
    vertex, corner, triangles = single_index(mesh)
    position, normal = gltf_from_object(mesh.vertices[vertex], mesh.normals[vertex])
    uv = np.stack([mesh.uv[corner, 0], 1 - mesh.uv[corner, 1]], 1)
    ok, picture = cv2.imencode(".png", cv2.cvtColor(mesh.texture, cv2.COLOR_RGB2BGR))
    if not ok:
        raise ValueError("cannot encode the texture")
    return encode_glb(GltfMesh(position, normal, uv, confidence[vertex], triangles=triangles, image=picture.tobytes()))
