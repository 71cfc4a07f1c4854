"""Scores a twin of a real rotation stage by what is known of it: equal steps about one axis, and a flat board.

There is no scan of the object, so the truth is physical: from frame 0 to frame k the camera must have turned by k steps, and the rim
of the board must be a plane.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.camera import Rig
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse, rotation_angle
from stages.core.images import read_mask
from stages.core.render import Caster

RIM_PX = (20, 70)
"""the rim: what lies between these distances inside the outline of the first mask"""


def turntable_scores(twin: Path, step_deg: float) -> dict[str, float | int]:
    """Rotation error against k * step (degrees) and the flatness of the rim (mm), from poses.json, rig.json, masks/ and mesh.ply."""
    poses = posed(read_poses(twin / "poses.json"))
    first = min(poses)
    error = [
        abs(np.degrees(rotation_angle(inverse(poses[first]) @ poses[k])) - (k - first) * step_deg)
        for k in sorted(poses)
        if k != first
    ]
    out = {
        "frames": len(read_poses(twin / "poses.json")),
        "frames_posed": len(poses),
        "rotation_error_median_deg": float(np.median(error)),
        "rotation_error_max_deg": float(np.max(error)),
    }
    return {**out, **rim_flatness(twin, first, poses[first])}


def rim_flatness(twin: Path, frame: int, object_from_left: np.ndarray) -> dict[str, float]:
    """Root mean square distance (mm) from their plane of the points that `frame` sees on the rim; 3 % (screws, edges) are left out."""
    import cv2
    import trimesh

    mask, rig = read_mask(twin / "masks" / f"{frame:06d}.png"), Rig.load(twin / "rig.json")
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    mesh = trimesh.load(twin / "mesh.ply", process=False)
    depth = Caster(np.asarray(mesh.vertices), np.asarray(mesh.faces)).view(object_from_left, rig)["t"]
    rim = (inside > RIM_PX[0]) & (inside < RIM_PX[1]) & np.isfinite(depth)
    row, column = np.nonzero(rim)
    points = rig.backproject(np.stack([column, row], -1), depth[rim])
    everything = len(points)
    while len(points) > 0.97 * everything:
        centre = points.mean(0)
        normal = np.linalg.svd((points - centre)[:: max(1, len(points) // 2000)], full_matrices=False)[2][2]
        away = np.abs((points - centre) @ normal)
        points = points[away <= np.percentile(away, 99.5)]
    return {"rim_rms_mm": float(1000 * np.sqrt(np.mean(((points - centre) @ normal) ** 2))), "rim_points": len(points)}
