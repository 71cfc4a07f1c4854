"""Renders an object over a table or before a wall by ray casting: soft shadows, a little gloss, anti-aliased, with the truth.

World frame: metres, y DOWN, where table, wall and lamps stand still. Rays have z = 1 in the camera, so that their length is the depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse
from stages.core.render import Caster
from tools.capture_rendering.paints import Paint, Surrounding

_LAMP = np.array([-0.5, -0.85, -0.45])
_LAMP_POINTS = np.array([[-0.07, 0, -0.07], [0.07, 0, -0.07], [-0.07, 0, 0.07], [0.07, 0, 0.07]])
"""a lamp of some size: each of the rays of a pixel asks another part of it"""
_LAMP_STRENGTH, _AMBIENT = 0.75, 0.32
_FILL = (np.array([0.75, -0.45, 0.3]), 0.22)
_GLOSS_EXPONENT = 40.0
_SKY = np.array([0.28, 0.29, 0.33])
_FARTHEST_M = 4.0
_NEAR_OBJECT_M = 0.5
_LIFT_M = 2e-4


@dataclass(frozen=True)
class Picture:
    """linear (H, W, 3) linear RGB, depth_m (H, W), NaN = sky, mask (H, W) bool = object."""

    linear: np.ndarray
    depth_m: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Plane:
    """Something flat in the world: all points whose coordinate `axis` (1 = table, 2 = wall) is `level_m`."""

    axis: int
    level_m: float
    albedo: Surrounding


class Scene:
    """A painted mesh (V, 3), (F, 3) and a plane; `gloss` is the strength of the highlight, 0 = matt."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, paint: Paint, plane: Plane, gloss: float = 0.0) -> None:
        import trimesh

        self._caster, self._paint, self._plane, self._gloss = Caster(vertices, faces), paint, plane, gloss
        self._normals = np.array(trimesh.Trimesh(vertices, faces, process=False).vertex_normals)

    def render(
        self, rig: Rig, object_from_camera: np.ndarray, world_from_camera: np.ndarray, samples: int = 2
    ) -> Picture:
        """What the camera sees: colour from `samples`^2 rays per pixel, depth and mask along the central ones."""
        offsets = (np.arange(samples) + 0.5) / samples - 0.5
        linear = np.zeros((rig.height * rig.width, 3))
        for k, (dx, dy) in enumerate((dx, dy) for dx in offsets for dy in offsets):
            linear += self._colours(
                _rays(rig, dx, dy), object_from_camera, world_from_camera, _LAMP + _LAMP_POINTS[k % len(_LAMP_POINTS)]
            )
        linear = (linear / samples**2).reshape(rig.height, rig.width, 3)
        depth, mask = self._truth(_rays(rig, 0.0, 0.0), object_from_camera, world_from_camera)
        return Picture(linear, depth.reshape(rig.height, rig.width), mask.reshape(rig.height, rig.width))

    def _truth(
        self, rays: np.ndarray, object_from_camera: np.ndarray, world_from_camera: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        depth = self._caster.cast(object_from_camera[:3, 3], rays @ object_from_camera[:3, :3].T)["t"].astype(float)
        behind = self._plane_depth(rays, world_from_camera)
        mask = depth < np.where(np.isfinite(behind), behind + _LIFT_M, np.inf)
        return np.where(mask, depth, behind), mask

    def _colours(
        self, rays: np.ndarray, object_from_camera: np.ndarray, world_from_camera: np.ndarray, lamp: np.ndarray
    ) -> np.ndarray:
        """(N, 3) linear RGB of (N, 3) rays of the camera, lit by one point of the lamp."""
        directions = rays @ object_from_camera[:3, :3].T
        hit = self._caster.cast(object_from_camera[:3, 3], directions)
        behind = self._plane_depth(rays, world_from_camera)
        on_object = hit["t"] < np.where(np.isfinite(behind), behind + _LIFT_M, np.inf)
        lamp = lamp / np.linalg.norm(lamp)
        out = np.tile(_SKY, (len(rays), 1))
        x = object_from_camera[:3, 3] + directions[on_object] * hit["t"][on_object, None].astype(float)
        normal = self._caster.interpolate({k: hit[k][on_object] for k in ("face", "uv")}, self._normals)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        object_from_world = object_from_camera @ inverse(world_from_camera)
        light = self._light(x, normal, lamp, object_from_world)
        towards_eye = -directions[on_object] / np.linalg.norm(directions[on_object], axis=1, keepdims=True)
        mirrored = self._highlight(normal, towards_eye, object_from_world[:3, :3] @ lamp)
        out[on_object] = self._paint(x, normal) * light[:, :1] + mirrored * light[:, 1:]
        on_plane = ~on_object & np.isfinite(behind)
        at = world_from_camera[:3, 3] + (rays[on_plane] @ world_from_camera[:3, :3].T) * behind[on_plane, None]
        out[on_plane] = self._plane_colours(at, lamp, object_from_world)
        return out

    def _light(self, x: np.ndarray, normal: np.ndarray, lamp: np.ndarray, object_from_world: np.ndarray) -> np.ndarray:
        """(N, 2): all light that falls on (N, 3) object points, and the share of it that comes straight from the lamp (0 or 1)."""
        turn = object_from_world[:3, :3]
        facing = normal @ (turn @ lamp)
        lit = facing > 0
        lit[lit] = ~np.isfinite(
            self._caster.cast(x[lit] + _LIFT_M * normal[lit], np.broadcast_to(turn @ lamp, x[lit].shape))["t"]
        )
        fill = np.clip(normal @ (turn @ (_FILL[0] / np.linalg.norm(_FILL[0]))), 0, None)
        sky = 0.75 - 0.25 * (normal @ turn[:, 1])  # from above comes more than from below
        return np.stack([_AMBIENT * sky + _LAMP_STRENGTH * facing * lit + _FILL[1] * fill, lit.astype(float)], 1)

    def _highlight(self, normal: np.ndarray, towards_eye: np.ndarray, lamp: np.ndarray) -> np.ndarray:
        """(N, 1) mirrored light of the lamp (Blinn 1977)."""
        half = towards_eye + lamp
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        return self._gloss * np.clip((normal * half).sum(1, keepdims=True), 0, None) ** _GLOSS_EXPONENT

    def _plane_depth(self, rays: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
        """(N,) depth of the plane along each ray, NaN where there is none."""
        along = rays @ world_from_camera[self._plane.axis, :3]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self._plane.level_m - world_from_camera[self._plane.axis, 3]) / along
        return np.where((t > 0) & (t < _FARTHEST_M), t, np.nan)

    def _plane_colours(self, at: np.ndarray, lamp: np.ndarray, object_from_world: np.ndarray) -> np.ndarray:
        first, second = (0, 2) if self._plane.axis == 1 else (0, 1)
        facing = abs(lamp[self._plane.axis])
        x = at @ object_from_world[:3, :3].T + object_from_world[:3, 3]
        near = np.linalg.norm(x, axis=1) < _NEAR_OBJECT_M
        lit = np.ones(len(at))
        lit[near] = ~np.isfinite(
            self._caster.cast(x[near], np.broadcast_to(object_from_world[:3, :3] @ lamp, x[near].shape))["t"]
        )
        light = _AMBIENT + _LAMP_STRENGTH * facing * lit + _FILL[1] * 0.5
        return self._plane.albedo(at[:, first], at[:, second]) * light[:, None]


def _rays(rig: Rig, dx: float, dy: float) -> np.ndarray:
    u, v = np.meshgrid(np.arange(rig.width) + dx, np.arange(rig.height) + dy)
    return rig.rays(np.stack([u, v], -1)).reshape(-1, 3)
