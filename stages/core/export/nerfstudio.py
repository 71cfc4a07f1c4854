"""nerfstudio: transforms.json with intrinsics in pixels (principal point from the corner), images/, masks/, depths/, mesh.ply."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from stages.core.export.twin_views import TwinViews, write_json
from stages.core.images import write_mask
from stages.core.posed_cameras import from_opengl

DEPTH_UNIT = 1e-3
"""metres a level, nerfstudio's default"""
LEVELS = 65535


def write(views: TwinViews, out: Path) -> None:
    """The folder that `ns-train --data` takes."""
    rig, frames = views.rig, []
    for folder in ("images", "masks", "depths"):
        (out / folder).mkdir(parents=True)
    unit = _depth_unit(views)
    for i, camera in enumerate(views.cameras):
        name = f"{camera.name}{camera.picture.suffix.lower()}" if camera.picture else f"{camera.name}.png"
        shutil.copyfile(camera.picture or "", out / "images" / name)
        write_mask(out / "masks" / f"{camera.name}.png", views.mask(i))
        entry = {
            "file_path": f"images/{name}",
            "mask_path": f"masks/{camera.name}.png",
            "transform_matrix": from_opengl(camera.world_from_camera).tolist(),
        }
        if (depth := views.depth(i)) is not None and np.isfinite(depth).any():
            _write_depth(out / "depths" / f"{camera.name}.png", depth, unit)
            entry["depth_file_path"] = f"depths/{camera.name}.png"
        frames.append(entry)
    if (views.twin / "mesh.ply").is_file():
        shutil.copyfile(views.twin / "mesh.ply", out / "mesh.ply")
    write_json(
        out / "transforms.json",
        {
            "camera_model": "PINHOLE",
            "w": rig.width,
            "h": rig.height,
            "fl_x": rig.fx,
            "fl_y": rig.fy,
            "cx": rig.cx + 0.5,
            "cy": rig.cy + 0.5,
            "depth_unit_scale_factor": unit,
            "frames": frames,
        },
    )


def _depth_unit(views: TwinViews) -> float:
    """A millimetre a level, or the first power of ten that holds the farthest depth."""
    maps = (views.depth(i) for i in range(len(views.cameras)))
    far = max((float(np.nanmax(d)) for d in maps if d is not None and np.isfinite(d).any()), default=0.0)
    unit = DEPTH_UNIT
    while far / unit > LEVELS:
        unit *= 10
    return unit


def _write_depth(path: Path, depth: np.ndarray, unit: float) -> None:
    cv2.imwrite(str(path), np.clip(np.nan_to_num(depth / unit), 0, LEVELS).round().astype(np.uint16))
