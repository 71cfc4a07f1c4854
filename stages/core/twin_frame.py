"""The frame of what a user gets: metres, right-handed, y up (glTF's axes). Stages work in the object frame, which has OpenCV axes.

Every file of a twin folder is in the twin frame, poses.json too, but for twin.ply, which is z up. run.json says so under "frames"; its
version grows whenever a file changes its frame. Version 1 (no "frames" in run.json): mesh.ply, twin.obj and poses.json had OpenCV axes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from stages.core.frames import FramePose
from stages.core.meshes import SurfaceMesh

TWIN_FROM_OBJECT = np.diag([1.0, -1.0, -1.0])
"""half a turn about x; the inverse is the same"""
Z_UP_FROM_TWIN = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
TWIN_AXES = "metres; x right, y up, z back"
Z_UP_AXES = "metres; x right, y forward, z up"
TWIN_POSES = f"x_object = object_from_left @ x_left; object: the twin frame ({TWIN_AXES}); left: rectified left camera, OpenCV axes"

FRAMES: dict[str, Any] = {
    "version": 2,
    "twin": TWIN_AXES,
    "z_up": Z_UP_AXES,
    "files": {
        "mesh.ply": "twin",
        "poses.json": "twin",
        "twin.obj": "twin",
        "twin.glb": "twin",
        "twin.usdz": "twin",
        "lod/*.glb": "twin",
        "twin.ply": "z_up",
    },
    "z_up_from_twin": Z_UP_FROM_TWIN.tolist(),
    "twin_from_version_1": TWIN_FROM_OBJECT.tolist(),
}
"""for run.json"""


def turned(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(N, 3) points or normals, each times `rotation` (3, 3); no negative zeros."""
    return points @ rotation.T + 0.0


def turned_mesh(mesh: SurfaceMesh, rotation: np.ndarray) -> SurfaceMesh:
    """The mesh with its vertices turned."""
    return replace(mesh, vertices=turned(mesh.vertices, rotation))


def poses_in_twin_frame(poses: list[FramePose]) -> list[FramePose]:
    """`object_from_left` of the stages as the twin folder has it, for the frames that have a pose."""
    turn = np.eye(4)
    turn[:3, :3] = TWIN_FROM_OBJECT
    return [
        p if p.object_from_left is None else replace(p, object_from_left=turn @ p.object_from_left + 0.0) for p in poses
    ]
