"""Scores a twin of a real rotation stage by what is known of it: equal steps about one axis, and a flat board.

There is no scan of the object, so the truth is physical: from frame 0 to frame k the camera must have turned by k steps, and the rim
of the board must be a plane.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.camera import Rig
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.images import read_mask

RIM_PX = (12, 45)
"""the rim: what lies between these distances inside the outline of the first mask"""


def turntable_scores(twin: Path, step_deg: float) -> dict[str, float | int]:
    """Rotation error against k * step (degrees) and the flatness of the rim (mm), from poses.json, rig.json, masks/ and mesh.ply."""
    poses = posed(read_poses(twin / "poses.json"))
    first = min(poses)
    error = [
        abs(np.degrees(rotation_angle(inverse(poses[first]) @ poses[k])) - (k - first) * step_deg) for k in sorted(poses) if k != first
    ]
    out = {
        "frames": len(read_poses(twin / "poses.json")),
        "frames_posed": len(poses),
        "rotation_error_median_deg": float(np.median(error)),
        "rotation_error_max_deg": float(np.max(error)),
    }
    return {**out, **rim_flatness(twin, first, poses[first])}


def rim_flatness(twin: Path, frame: int, object_from_left: np.ndarray) -> dict[str, float]:
    """Root mean square distance (mm) of the mesh vertices on the rim to their plane; 2 % of outliers (tags, screws) are left out."""
    import cv2
    import trimesh

    mask = read_mask(twin / "masks" / f"{frame:06d}.png")
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    x = transform(inverse(object_from_left), np.asarray(trimesh.load(twin / "mesh.ply", process=False).vertices))
    uv = Rig.load(twin / "rig.json").project(x)
    ok = np.isfinite(uv).all(1) & (uv >= 0).all(1) & (uv[:, 0] < mask.shape[1] - 1) & (uv[:, 1] < mask.shape[0] - 1)
    distance = np.zeros(len(x))
    column, row = np.rint(uv[ok]).astype(int).T
    distance[ok] = inside[row, column]
    points = x[(distance > RIM_PX[0]) & (distance < RIM_PX[1])]
    for _ in range(5):
        centre = points.mean(0)
        normal = np.linalg.svd(points - centre, full_matrices=False)[2][2]
        away = np.abs((points - centre) @ normal)
        points = points[away <= np.percentile(away, 99.5)]
    return {"rim_rms_mm": float(1000 * np.sqrt(np.mean(((points - centre) @ normal) ** 2))), "rim_points": len(points)}
