"""Pictures for docs/: true mesh, our mesh and the error between them in mm; our texture; depth and mask of one frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import trimesh

from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse, transform
from stages.core.images import read_disparity, read_mask, read_rgb, write_rgb
from stages.core.metrics_geometry import align_by_poses
from stages.core.render import Caster, shade_view, turntable_rig

ERROR_RANGE_MM = 1.0
SIZE_PX = 340
_OBJECT_FROM_TWIN = np.diag([1.0, -1.0, -1.0, 1.0])
"""the renderer looks at the object frame, where up is -y"""


def comparison_pictures(record: dict, out: Path) -> None:
    """Write <capture>-{surface,inputs}.jpg for every run that succeeded."""
    out.mkdir(parents=True, exist_ok=True)
    for run in record["runs"]:
        if run["exit_code"] == 0:
            twin, source = Path(run["twin"]), Path(run["source"])
            write_rgb(out / f"{run['capture']}-surface.jpg", surface_picture(twin, source), 88)
            write_rgb(out / f"{run['capture']}-inputs.jpg", inputs_picture(twin, source), 88)


def surface_picture(twin: Path, source: Path) -> np.ndarray:
    """Columns: four sides. Rows: truth (where there is one), our shape, error map, our texture."""
    mesh = trimesh.load(twin / "mesh.ply", process=False, force="mesh")
    mesh.apply_transform(_OBJECT_FROM_TWIN)
    rig, sides = turntable_rig(mesh.vertices, SIZE_PX)
    ours = Caster(mesh.vertices, mesh.faces)
    rows = [
        [shade_view(ours, p, rig) for p in sides],
        [shade_view(ours, p, rig, mesh.visual.vertex_colors[:, :3]) for p in sides],
    ]
    if (source / "gt/mesh.ply").exists():
        true = trimesh.load(source / "gt/mesh.ply", process=False, force="mesh")
        poses, true_poses = (posed(read_poses(f / "poses.json")) for f in (twin, source / "gt"))
        object_from_true = _OBJECT_FROM_TWIN @ inverse(align_by_poses(true_poses, poses, np.asarray(true.vertices)))
        truth = Caster(transform(object_from_true, np.asarray(true.vertices)), true.faces)
        error = _error_colours(mesh, truth)
        rows = [
            [shade_view(truth, p, rig) for p in sides],
            rows[0],
            [shade_view(ours, p, rig, error) for p in sides],
            rows[1],
        ]
    return np.vstack([np.hstack(r) for r in rows])


def _error_colours(mesh: trimesh.Trimesh, truth: Caster) -> np.ndarray:
    """(V, 3) uint8: signed distance to the true surface, blue = inside by 1 mm, white = exact, red = outside by 1 mm."""
    true = trimesh.Trimesh(truth.vertices, truth.faces, process=False)
    points, face = trimesh.sample.sample_surface(true, 400_000, seed=0)
    from scipy.spatial import cKDTree

    near = cKDTree(points).query(mesh.vertices)[1]
    signed = np.einsum("ij,ij->i", mesh.vertices - points[near], true.face_normals[face[near]])
    level = np.clip(1000 * signed / ERROR_RANGE_MM, -1, 1)[:, None]
    return np.rint(255 * np.where(level > 0, 1 - level * np.array([0, 1, 1]), 1 + level * np.array([1, 1, 0]))).astype(
        np.uint8
    )


def inputs_picture(twin: Path, source: Path) -> np.ndarray:
    """One frame: left picture with the mask's outline, and the disparity inside the mask."""
    frame = sorted(posed(read_poses(twin / "poses.json")))[3]
    mask, disparity = (
        read_mask(twin / "masks" / f"{frame:06d}.png"),
        read_disparity(twin / "disparity" / f"{frame:06d}.png"),
    )
    left = read_rgb(sorted((source / "left").iterdir())[frame])
    if left.shape[:2] != mask.shape:
        left = cv2.resize(left, mask.shape[::-1])
    if (source / "gt").is_dir():  # raw captures are not aligned with the rectified mask
        outline = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
        left = np.where(outline[..., None], np.uint8([255, 40, 40]), left)
    low, high = np.nanpercentile(disparity[mask], [1, 99])
    level = np.clip((np.nan_to_num(disparity, nan=low) - low) / max(high - low, 1e-6), 0, 1)
    coloured = cv2.cvtColor(
        cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB
    )
    coloured[~mask | ~np.isfinite(disparity)] = 25
    both = np.hstack([left, coloured])
    return cv2.resize(both, None, fx=1360 / both.shape[1], fy=1360 / both.shape[1], interpolation=cv2.INTER_AREA)
