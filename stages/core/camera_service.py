"""Cameras by wish: looking at a point, the six canonical views, a spiral or a turntable, and transforms_train.json of any of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.posed_cameras import PosedCamera, from_opengl, pinhole

DISTANCE, WIDTH_PX, FOCAL_PX = 2.5, 512, 1111.0
"""of the canonical views where nothing is said: world units, px, and px for a picture of that width"""
VIEWS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "front": ((0, 0, 1), (0, 1, 0)),
    "back": ((0, 0, -1), (0, 1, 0)),
    "left": ((1, 0, 0), (0, 1, 0)),
    "right": ((-1, 0, 0), (0, 1, 0)),
    "top": ((0, 1, 0), (0, 0, 1)),
    "bottom": ((0, -1, 0), (0, 0, 1)),
}
"""{name: (direction of the camera from the object, what is up in its picture)}, y up"""


def look_at(eye: Sequence[float], target: Sequence[float] = (0, 0, 0), up: Sequence[float] = (0, 1, 0)) -> np.ndarray:
    """world_from_camera (4, 4), OpenCV axes, at `eye`, looking at `target`. Raises ValueError where the view is along `up`."""
    eye, back = np.asarray(eye, float), np.asarray(eye, float) - np.asarray(target, float)
    if np.linalg.norm(back) < 1e-12:
        raise ValueError("the camera stands in the point that it looks at")
    back /= np.linalg.norm(back)
    right = np.cross(np.asarray(up, float), back)
    if np.linalg.norm(right) < 1e-9:
        raise ValueError("the camera looks along its own up direction")
    right /= np.linalg.norm(right)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.stack([right, np.cross(back, right), back], 1), eye
    return from_opengl(out)


def up_of(poses: Sequence[np.ndarray]) -> np.ndarray:
    """(3,) what the pictures have at their top, on average; of pictures from all sides, the object frame's own up."""
    up = -np.mean([p[:3, 1] for p in poses], 0)
    return up / np.linalg.norm(up) if np.linalg.norm(up) > 0.3 else np.array([0.0, -1.0, 0.0])


def focal_of(fov_rad: float, width: int) -> float:
    """px."""
    if not 1e-3 < fov_rad < math.pi - 1e-3:
        raise ValueError(f"a field of view of {fov_rad} rad")
    return width / 2 / math.tan(fov_rad / 2)


def canonical_views(
    width: int = WIDTH_PX,
    height: int = WIDTH_PX,
    distance: float = DISTANCE,
    focal_px: float | None = None,
    names: Sequence[str] = tuple(VIEWS),
) -> list[PosedCamera]:
    """The views of `names` at `distance`; `focal_px` px, by default 1111 for a picture 512 px wide."""
    f = FOCAL_PX * width / WIDTH_PX if focal_px is None else focal_px
    K = pinhole(f, f, (width - 1) / 2, (height - 1) / 2)
    return [
        PosedCamera(
            n, None, K, look_at(distance * np.array(VIEWS[n][0], float), up=VIEWS[n][1]), width=width, height=height
        )
        for n in names
    ]


def orbit(
    centre: np.ndarray,
    radius: float,
    count: int,
    up: np.ndarray,
    elevation_rad: float = 0.35,
    turns: float = 1.0,
    climb_rad: float = 0.0,
) -> list[np.ndarray]:
    """world_from_camera of `count` cameras round `centre`: a turntable, or with `climb_rad` a spiral that rises and falls by it."""
    up = np.asarray(up, float) / np.linalg.norm(up)
    side = np.cross(up, [1.0, 0, 0] if abs(up[0]) < 0.9 else [0, 1.0, 0])
    side /= np.linalg.norm(side)
    ahead, out = np.cross(up, side), []
    for k in range(count):
        a, e = 2 * math.pi * turns * k / count, elevation_rad + climb_rad * math.sin(2 * math.pi * k / count)
        d = math.cos(e) * (math.cos(a) * side + math.sin(a) * ahead) + math.sin(e) * up
        out.append(look_at(centre + radius * d, centre, up))
    return out


def sway(seen: np.ndarray, centre: np.ndarray, count: int, up: np.ndarray, climb: bool = False) -> list[np.ndarray]:
    """world_from_camera of `count` cameras on an ellipse before a scene that was seen from one side, all looking at `centre`: as wide and
    high as most of the eyes `seen` (N, 3) lie about their middle; with `climb` it goes to and fro too."""
    middle = seen.mean(0)
    back = (middle - centre) / np.linalg.norm(middle - centre)
    side = np.cross(up, back)
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(back, side), back])
    reach = np.percentile(np.abs((seen - middle) @ axes.T), 80, axis=0)
    turns = 2 * math.pi * np.arange(count) / count
    steps = np.stack([np.cos(turns), np.sin(turns), np.sin(2 * turns) * climb], 1) * reach
    return [look_at(middle + step @ axes, centre, up) for step in steps]


def transforms(cameras: Sequence[PosedCamera], names: Sequence[str]) -> dict[str, Any]:
    """transforms_train.json as Blender data have it; `names` are the file paths without suffix. Raises ValueError where the cameras differ
    in their focal lengths or have no centred principal point: that format cannot say so."""
    first = cameras[0]
    for c in cameras:
        centred = np.abs(c.K[:2, 2] - [(c.width - 1) / 2, (c.height - 1) / 2]).max() < 1e-6
        if not centred or c.lens != "none" or np.abs(c.K - first.K).max() > 1e-6 or abs(c.K[0, 0] - c.K[1, 1]) > 1e-6:
            raise ValueError(
                f"{c.name}: its lens is not the centred pinhole of all others, which is all that this format knows"
            )
    angle = 2 * math.atan(first.width / 2 / first.K[0, 0])
    frames = [
        {"file_path": f"./{n}", "transform_matrix": from_opengl(c.world_from_camera).tolist()}
        for c, n in zip(cameras, names, strict=True)
    ]
    return {"camera_angle_x": angle, "frames": frames}


def write_transforms(path: Path, cameras: Sequence[PosedCamera], names: Sequence[str]) -> None:
    """`transforms` as a file."""
    path.write_text(json.dumps(transforms(cameras, names), indent=1))
