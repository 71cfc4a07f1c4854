"""The meshes that MJCF, URDF and SDF refer to: OBJ, metres, z up; the visual one with its picture."""

from __future__ import annotations

from pathlib import Path

from stages.core.images import write_rgb
from stages.core.levels import Level
from stages.core.meshes import TexturedMesh
from stages.physics.asset import TEXTURE, SimAsset
from stages.physics.shapes import Shape


def write_meshes(folder: Path, asset: SimAsset) -> None:
    """visual.obj with visual.mtl and the picture, visual_lodN.obj with normal_lodN.png; hull.obj, closed.obj and part_NNN.obj."""
    folder.mkdir()
    write_rgb(folder / TEXTURE, asset.visual.texture)
    (folder / "visual.mtl").write_text(_material())
    (folder / "visual.obj").write_text(textured_text(asset.visual, "visual.mtl"))
    for name, level in asset.coarser.items():
        (folder / f"visual_{name}.mtl").write_text(_material(f"norm normal_{name}.png\n"))
        (folder / f"visual_{name}.obj").write_text(textured_text(level, f"visual_{name}.mtl"))
        write_rgb(folder / f"normal_{name}.png", level.normal_map)
    shapes = {"hull": asset.hull, "closed": asset.closed, **{f"part_{k:03d}": p for k, p in enumerate(asset.parts)}}
    for stem, shape in shapes.items():
        (folder / f"{stem}.obj").write_text(plain_text(shape))


def _material(more: str = "") -> str:
    return f"newmtl twin\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\nmap_Kd {TEXTURE}\n{more}"


def plain_text(shape: Shape) -> str:
    """Positions and faces."""
    lines = ["# metres, z up\n", "o collider\n"]
    lines += ["v {!r} {!r} {!r}\n".format(*v) for v in shape.vertices.tolist()]
    lines += ["f {} {} {}\n".format(*f) for f in (shape.faces + 1).tolist()]
    return "".join(lines)


def textured_text(mesh: TexturedMesh | Level, material_file: str) -> str:
    """With uv (origin bottom-left) and normals, one index for each."""
    lines = ["# metres, z up\n", f"mtllib {material_file}\n", "o visual\n"]
    lines += ["v {:.7f} {:.7f} {:.7f}\n".format(*v) for v in mesh.vertices.tolist()]
    lines += ["vt {:.7f} {:.7f}\n".format(*t) for t in mesh.uv.tolist()]
    lines += ["vn {:.5f} {:.5f} {:.5f}\n".format(*n) for n in mesh.normals.tolist()]
    lines.append("usemtl twin\n")
    faces, faces_uv = (mesh.faces + 1).tolist(), (mesh.faces_uv + 1).tolist()
    lines += [f"f {a}/{p}/{a} {b}/{q}/{b} {c}/{r}/{c}\n" for (a, b, c), (p, q, r) in zip(faces, faces_uv, strict=True)]
    return "".join(lines)
