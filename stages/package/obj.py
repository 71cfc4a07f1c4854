"""Wavefront OBJ with its material file. Metres, y up as importers take it (OBJ has no axes of its own), vt origin bottom-left."""

from __future__ import annotations

from stages.core.glb import gltf_from_object
from stages.core.meshes import TexturedMesh
from stages.core.twin_frame import TWIN_AXES

_HEADER = f"# {TWIN_AXES}; the frame of poses.json\n"


def obj_text(mesh: TexturedMesh, material_file: str) -> str:
    """The .obj file: separate indices for position, uv and normal, so no vertex is doubled."""
    vertices, normals = gltf_from_object(mesh.vertices, mesh.normals)
    parts = [_HEADER, f"mtllib {material_file}\n", "o twin\n"]
    parts += ["v {:.7f} {:.7f} {:.7f}\n".format(*v) for v in vertices.tolist()]
    parts += ["vt {:.7f} {:.7f}\n".format(*t) for t in mesh.uv.tolist()]
    parts += ["vn {:.5f} {:.5f} {:.5f}\n".format(*n) for n in normals.tolist()]
    parts.append("usemtl twin\n")
    faces, faces_uv = (mesh.faces + 1).tolist(), (mesh.faces_uv + 1).tolist()
    parts += [f"f {a}/{p}/{a} {b}/{q}/{b} {c}/{r}/{c}\n" for (a, b, c), (p, q, r) in zip(faces, faces_uv, strict=True)]
    return "".join(parts)


def mtl_text(picture: str, roughness: str = "") -> str:
    """The .mtl file: matt, coloured by the picture; with a picture of the roughness, the extension for physically based materials too."""
    text = f"newmtl twin\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\nmap_Kd {picture}\n"
    return text + (f"Pr 1\nPm 0\nmap_Pr {roughness}\n" if roughness else "")
