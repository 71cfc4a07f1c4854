"""A COLMAP text model (sparse/0) with images/ and masks/: camera_from_world as quaternion and shift, principal point from the corner."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.core.export.twin_views import TwinViews
from stages.core.geometry.rigid import quaternion_of
from stages.core.images import write_mask
from stages.core.posed_cameras import nearest_rotation


def write(views: TwinViews, out: Path) -> None:
    """images/, masks/ and sparse/0/{cameras,images,points3D}.txt; points are the mesh's vertices, without tracks."""
    rig, model = views.rig, out / "sparse/0"
    for folder in (out / "images", out / "masks", model):
        folder.mkdir(parents=True)
    numbers = " ".join(repr(float(x)) for x in (rig.fx, rig.fy, rig.cx + 0.5, rig.cy + 0.5))
    (model / "cameras.txt").write_text(
        f"# CAMERA_ID MODEL WIDTH HEIGHT PARAMS\n1 PINHOLE {rig.width} {rig.height} {numbers}\n"
    )
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then its points (none)"]
    for i, camera in enumerate(views.cameras):
        name = f"{camera.name}{camera.picture.suffix.lower()}" if camera.picture else f"{camera.name}.png"
        shutil.copyfile(camera.picture or "", out / "images" / name)
        write_mask(out / "masks" / f"{name}.png", views.mask(i))
        pose = camera.camera_from_world
        qt = (*quaternion_of(nearest_rotation(pose[:3, :3])), *pose[:3, 3])
        lines += [f"{i + 1} {' '.join(repr(float(x)) for x in qt)} 1 {name}", ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    (model / "points3D.txt").write_text("# POINT3D_ID X Y Z R G B ERROR TRACK\n" + "".join(_points(views)))


def _points(views: TwinViews, most: int = 50_000) -> list[str]:
    from stages.core.meshes import read_ply

    if not (views.twin / "mesh.ply").is_file():
        return []
    mesh = read_ply(views.twin / "mesh.ply")
    step = max(1, len(mesh.vertices) // most)
    pairs = zip(mesh.vertices[::step], mesh.colour[::step], strict=True)
    return [f"{k + 1} {x[0]:.9g} {x[1]:.9g} {x[2]:.9g} {c[0]} {c[1]} {c[2]} 0\n" for k, (x, c) in enumerate(pairs)]
