"""Renders the built-in scene by ray casting: true colours, depth and object mask for any camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse
from stages.core.render import Caster
from stages.core.synthetic.paint import object_albedo, table_albedo, wall_albedo
from stages.core.synthetic.shape import HALF_HEIGHT_M

_LIGHTS = (((-0.5, -0.8, -0.4), 0.55), ((0.7, -0.5, 0.3), 0.35))
_AMBIENT = 0.30
_WALL_DISTANCE_M = 1.2


@dataclass(frozen=True)
class View:
    """One rendered eye: rgb (H, W, 3) uint8 sRGB, depth_m (H, W) float64 (NaN = sky), mask (H, W) bool."""

    rgb: np.ndarray
    depth_m: np.ndarray
    mask: np.ndarray


class Scene:
    """The object over a table (`orbit`) or before a wall that stands still while the object moves (`inhand`)."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, background: str) -> None:
        import trimesh

        self._background = background
        self._caster = Caster(vertices, faces)
        self._normals = np.array(trimesh.Trimesh(vertices, faces, process=False).vertex_normals)

    def render(
        self, rig: Rig, object_from_camera: np.ndarray, background_from_camera: np.ndarray, samples: int = 2
    ) -> View:
        """`samples`^2 rays per pixel for colour and mask edges, the central ray for depth and mask."""
        centre = self._trace(rig, object_from_camera, background_from_camera, 0.0, dy=0.0, shade=samples == 1)
        offsets = (np.arange(samples) + 0.5) / samples - 0.5
        parts = (
            [
                self._trace(rig, object_from_camera, background_from_camera, dx, dy=dy)[0]
                for dx in offsets
                for dy in offsets
            ]
            if samples > 1
            else [centre[0]]
        )
        linear = np.mean(parts, 0)
        rgb = np.rint(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)
        return View(
            rgb.reshape(rig.height, rig.width, 3),
            centre[1].reshape(rig.height, rig.width),
            centre[2].reshape(rig.height, rig.width),
        )

    def _trace(
        self,
        rig: Rig,
        object_from_camera: np.ndarray,
        background_from_camera: np.ndarray,
        dx: float,
        dy: float,
        shade: bool = True,
    ):
        u, v = np.meshgrid(np.arange(rig.width) + dx, np.arange(rig.height) + dy)
        rays = rig.rays(np.stack([u, v], -1)).reshape(-1, 3)
        origin, direction = object_from_camera[:3, 3], rays @ object_from_camera[:3, :3].T
        hit = self._caster.cast(origin, direction)
        t = hit["t"].astype(np.float64)  # rays have z = 1 in the camera, so t is the depth
        mask = np.isfinite(t)
        depth = np.where(mask, t, np.nan)
        colour = np.zeros((len(rays), 3))
        if shade:
            colour[mask] = self._shade(
                hit,
                mask,
                origin + direction[mask] * t[mask, None],
                object_from_camera,
                background_from_camera=background_from_camera,
            )
        back_depth, back_colour = self._backdrop(rays[~mask], background_from_camera, shade)
        depth[~mask] = back_depth
        colour[~mask] = back_colour
        return colour, depth, mask

    def _shade(
        self, hit, mask: np.ndarray, x: np.ndarray, object_from_camera: np.ndarray, background_from_camera: np.ndarray
    ) -> np.ndarray:
        n = self._caster.interpolate({k: hit[k][mask] for k in ("face", "uv")}, self._normals)
        n /= np.linalg.norm(n, axis=1, keepdims=True)
        # the lights stand still with the background, so a turning object changes its shading
        n_world = n @ (background_from_camera @ inverse(object_from_camera))[:3, :3].T
        return object_albedo(x, n) * _lambert(n_world)[:, None]

    def _backdrop(
        self, rays: np.ndarray, background_from_camera: np.ndarray, shade: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        origin, d = background_from_camera[:3, 3], rays @ background_from_camera[:3, :3].T
        depth = np.full(len(rays), np.nan)
        colour = np.tile([0.30, 0.32, 0.36], (len(rays), 1))
        axis, level = (1, HALF_HEIGHT_M) if self._background == "orbit" else (2, _WALL_DISTANCE_M - 0.45)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (level - origin[axis]) / d[:, axis]
        ok = (t > 0) & (t < 3.0)
        x = origin + d[ok] * t[ok, None]
        depth[ok] = t[ok]
        if shade:
            colour[ok] = table_albedo(x[:, 0], x[:, 2]) * 0.8 if axis == 1 else wall_albedo(x[:, 0], x[:, 1])
        return depth, colour


def _lambert(normals: np.ndarray) -> np.ndarray:
    out = np.full(len(normals), _AMBIENT)
    for direction, strength in _LIGHTS:
        d = np.array(direction) / np.linalg.norm(direction)
        out += strength * np.clip(normals @ d, 0, None)
    return out


def look_at(eye: np.ndarray, target: np.ndarray, down: np.ndarray) -> np.ndarray:
    """world_from_camera (4, 4) with z towards the target and y along `down` as far as it can."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(down, z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.stack([x, np.cross(z, x), z], 1), eye
    return out
