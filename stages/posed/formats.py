"""Which format lies in a folder, and its reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedSet, common_point
from stages.posed import read_colmap, read_llff, read_middlebury, read_neus, read_transforms, read_views

FINDERS = {
    "transforms": read_transforms.find,
    "llff": read_llff.find,
    "neus": read_neus.find,
    "middlebury": read_middlebury.find,
    "colmap": read_colmap.find,
    "views": read_views.find,
}
"""{format: its file or folder below a root, None = absent}; the first that is there is read"""
TURNED = 0.0
"""cosine to the common point below which a camera looks away from it"""


def read(
    root: Path, format: str = "auto", axes: str = "opengl", distance: float = 2.5, fov_deg: float = 0.0
) -> PosedSet:
    """The cameras of the folder. Raises CaptureError by file and frame."""
    found = {name: path for name, find in FINDERS.items() if (path := find(root)) is not None}
    if format != "auto":
        found = {k: v for k, v in found.items() if k == format}
    if not found:
        wanted = "any posed pictures" if format == "auto" else f"the format {format}"
        raise CaptureError(
            f"{root} does not hold {wanted}",
            "expected transforms.json or transforms_train.json, poses_bounds.npy, cameras.npz, *_par.txt, a COLMAP model in "
            "sparse/0, or pictures named front, back, left, right, top, bottom",
        )
    name, path = next(iter(found.items()))
    match name:
        case "transforms":
            out = read_transforms.read(root, path, axes)
        case "views":
            out = read_views.read(root, path, distance, fov_deg)
        case _:
            out = {"llff": read_llff, "neus": read_neus, "middlebury": read_middlebury, "colmap": read_colmap}[
                name
            ].read(root, path)
    refuse_mixed(out)
    if len(found) > 1:
        others = ", ".join(found[k].name for k in list(found)[1:])
        out = PosedSet(
            out.format,
            out.source,
            out.cameras,
            out.points,
            sphere=out.sphere,
            notes=(*out.notes, f"the folder also holds {others}; {path.name} was read (posed.format chooses)"),
            depth_unit=out.depth_unit,
            extra=out.extra,
        )
    return out


def refuse_mixed(found: PosedSet) -> None:
    """Raises CaptureError where some cameras look at the object and others away from it, or all do: another convention."""
    poses = np.array([c.world_from_camera for c in found.cameras])
    centre = common_point(poses)
    if centre is None:
        return
    toward = centre - poses[:, :3, 3]
    cosine = np.einsum("ij,ij->i", toward, poses[:, :3, 2]) / np.maximum(np.linalg.norm(toward, axis=1), 1e-12)
    away = np.flatnonzero(cosine < TURNED)
    if len(away) == 0:
        return
    names = ", ".join(found.cameras[i].name for i in away[:5]) + (" and more" if len(away) > 5 else "")
    if len(away) == len(poses):
        raise CaptureError(
            f"{found.source.name}: every camera looks away from the point where their axes meet",
            "the matrices have OpenCV axes: set posed.axes=opencv"
            if found.format in ("blender", "nerfstudio")
            else "the cameras' axes are of another convention: x right, y down, z forward is expected",
        )
    if 2 * len(away) > len(poses):
        away = np.setdiff1d(np.arange(len(poses)), away)
        names = ", ".join(found.cameras[i].name for i in away[:5])
    raise CaptureError(
        f"{found.source.name}: {len(away)} of {len(poses)} cameras look the other way than the rest ({names})",
        "the file mixes two axis conventions (OpenGL looks along -z, OpenCV along +z): write all frames in one",
    )
