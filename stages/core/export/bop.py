"""BOP: one scene (scene_camera.json, scene_gt.json, rgb/, depth/, mask/, mask_visib/) and models/obj_000001.ply, lengths in millimetres."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from stages.core.export.twin_views import TwinViews, write_json
from stages.core.images import write_mask, write_rgb

MM = 1000.0
DEPTH_SCALE = 0.1
"""millimetres a level; larger where the depth asks for it"""


def write(views: TwinViews, out: Path) -> None:
    """out/000001 is the scene, out/models the object."""
    scene = out / "000001"
    cameras, truth, info = {}, {}, {}
    for i, camera in enumerate(views.cameras):
        name, pose, mask = f"{i:06d}", camera.camera_from_world, views.mask(i)
        write_rgb(scene / "rgb" / f"{name}.png", views.rgb(i))
        for folder in ("mask", "mask_visib"):
            write_mask(scene / folder / f"{name}_000000.png", mask)
        R, t = pose[:3, :3].ravel().tolist(), (MM * pose[:3, 3]).tolist()
        scale = _write_depth(scene / "depth" / f"{name}.png", views.depth(i))
        cameras[str(i)] = {"cam_K": camera.K.ravel().tolist(), "depth_scale": scale, "cam_R_w2c": R, "cam_t_w2c": t}
        truth[str(i)] = [{"cam_R_m2c": R, "cam_t_m2c": t, "obj_id": 1}]
        info[str(i)] = [_info(mask)]
    for file, data in (("scene_camera", cameras), ("scene_gt", truth), ("scene_gt_info", info)):
        write_json(scene / f"{file}.json", data)
    _write_model(views, out / "models")


def _info(mask: np.ndarray) -> dict:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (
        [-1, -1, -1, -1]
        if not len(rows)
        else [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
    )
    count = int(mask.sum())
    return {
        "bbox_obj": box,
        "bbox_visib": box,
        "px_count_all": count,
        "px_count_valid": count,
        "px_count_visib": count,
        "visib_fract": 1.0,
    }


def _write_depth(path: Path, depth: np.ndarray | None) -> float:
    """The scale in millimetres a level."""
    if depth is None or not np.isfinite(depth).any():
        return 1.0
    mm = MM * np.nan_to_num(depth)
    scale = DEPTH_SCALE
    while mm.max() / scale > 65535:
        scale *= 10
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (mm / scale).round().astype(np.uint16))
    return scale


def _write_model(views: TwinViews, folder: Path) -> None:
    from stages.core.meshes import read_ply, write_ply

    if not (views.twin / "mesh.ply").is_file():
        return
    mesh = read_ply(views.twin / "mesh.ply")
    folder.mkdir(parents=True)
    write_ply(folder / "obj_000001.ply", replace(mesh, vertices=MM * mesh.vertices))
    low, size = MM * mesh.vertices.min(0), MM * np.ptp(mesh.vertices, axis=0)
    box = {f"min_{a}": float(x) for a, x in zip("xyz", low, strict=True)} | {
        f"size_{a}": float(x) for a, x in zip("xyz", size, strict=True)
    }
    write_json(folder / "models_info.json", {"1": {"diameter": _diameter(MM * mesh.vertices), **box}})


def _diameter(points: np.ndarray) -> float:
    """Largest distance of two vertices, among those extreme along 200 directions."""
    rng = np.random.default_rng(0)
    d = rng.normal(size=(200, 3))
    along = points @ (d / np.linalg.norm(d, axis=1, keepdims=True)).T
    ends = points[np.unique([along.argmin(0), along.argmax(0)])]
    return float(np.sqrt(((ends[:, None] - ends[None]) ** 2).sum(-1).max()))
