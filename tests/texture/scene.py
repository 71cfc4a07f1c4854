"""A painted sphere and cameras round it, rendered analytically: the truth for tests of single steps."""

from __future__ import annotations

import numpy as np
import trimesh

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse

RADIUS_M = 0.05
RIG = Rig(240, 200, 420.0, 420.0, 119.5, 99.5, 0.03)


def sphere(subdivisions: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and outward faces of the sphere."""
    mesh = trimesh.creation.icosphere(subdivisions, RADIUS_M)
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64)


def paint(points: np.ndarray) -> np.ndarray:
    """(..., 3) grey levels of the sphere's surface: smooth colours with some detail."""
    d = points / np.linalg.norm(points, axis=-1, keepdims=True)
    wave = np.sin(9 * d[..., [0]] + 2) * np.sin(8 * d[..., [1]]) * np.sin(7 * d[..., [2]] + 1)
    return 128 + 50 * d + 40 * wave


def camera(azimuth: float, elevation: float = 0.2, distance_m: float = 0.22) -> np.ndarray:
    """object_from_left of a camera that looks at the centre."""
    away = np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), -np.cos(azimuth) * np.cos(elevation)])
    z = -away
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.stack([x, np.cross(z, x), z], 1), away * distance_m
    return out


def render(object_from_camera: np.ndarray, rig: Rig = RIG, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(picture (H, W, 3) uint8, mask (H, W) bool) by intersecting the pixel rays with the true sphere; `gain` on linear light."""
    from stages.core.texels.exposure import linear_from_srgb, srgb_from_linear

    v, u = np.mgrid[: rig.height, : rig.width]
    rays = rig.rays(np.stack([u, v], -1)) @ object_from_camera[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    centre = object_from_camera[:3, 3]
    b = rays @ centre
    root = b**2 - (centre @ centre - RADIUS_M**2)
    mask = root > 0
    points = centre + rays * (-b - np.sqrt(np.maximum(root, 0)))[..., None]
    levels = srgb_from_linear(linear_from_srgb(np.clip(paint(points), 0, 255)) * gain)
    return np.where(mask[..., None], np.clip(np.rint(levels), 0, 255), 30).astype(np.uint8), mask


class Pictures:
    """What a survey reads of stereo pictures round the sphere; gains by (frame, side)."""

    def __init__(self, poses: dict[int, np.ndarray], gains: dict[tuple[int, str], float] | None = None) -> None:
        self.shown = {}
        for frame, pose in poses.items():
            for side in ("left", "right"):
                at = pose if side == "left" else pose @ inverse(RIG.right_from_left)
                self.shown[frame, side] = render(at, gain=(gains or {}).get((frame, side), 1.0))

    def mask(self, frame: int) -> np.ndarray:
        """Left mask."""
        return self.shown[frame, "left"][1]

    def rgb(self, frame: int, side: str, reduce: int = 1) -> np.ndarray:
        """Picture; the tests' pictures are small enough never to be reduced."""
        assert reduce == 1
        return self.shown[frame, side][0]

    def hidden(self, frame: int, side: str) -> None:
        """Nothing stands before the sphere."""
