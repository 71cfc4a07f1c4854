"""Shaded pictures of a mesh by ray casting (Embree): for reports, previews and silhouettes; no window system needed.

Poses are `object_from_left` as everywhere. The light sits at the camera, so a surface is bright where it faces the viewer.
"""

from __future__ import annotations

import numpy as np

from stages.core.camera import Rig

BACKGROUND = 255
_AMBIENT = 0.25


class Caster:
    """A mesh (V, 3) float, (F, 3) int in the object frame, ready to be seen by many cameras. Building it costs about 1 us per face."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore import EmbreeDevice
        from embreex.rtcore_scene import EmbreeScene

        self.vertices, self.faces = np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
        self._scene = EmbreeScene(EmbreeDevice())
        if len(self.faces):
            TriangleMesh(self._scene, self.vertices, self.faces)

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """First hits of rays (..., 3) + (..., 3), about 0.1 us each.

        "t": distance in units of the direction, inf = miss; "face": -1 = miss; "uv": weights of the second and third corner;
        "normal": unit, by the winding of the face.
        """
        shape = directions.shape[:-1]
        d = np.ascontiguousarray(directions.reshape(-1, 3), np.float32)
        o = np.ascontiguousarray(np.broadcast_to(origins, directions.shape).reshape(-1, 3), np.float32)
        hit = self._scene.run(o, d, query="INTERSECT", output=1)
        face = hit["primID"].astype(np.int64)
        normal = hit["Ng"] / np.maximum(np.linalg.norm(hit["Ng"], axis=1, keepdims=True), 1e-30)
        t = np.where(face >= 0, hit["tfar"], np.float32(np.inf))
        return {
            "t": t.reshape(shape),
            "face": face.reshape(shape),
            "uv": np.stack([hit["u"], hit["v"]], -1).reshape(*shape, 2),
            "normal": normal.reshape(*shape, 3),
        }

    def view(self, object_from_left: np.ndarray, rig: Rig) -> dict[str, np.ndarray]:
        """`cast` for every pixel of a left camera; "t" is then the depth in metres (rays have z = 1), inf where nothing is hit."""
        v, u = np.mgrid[: rig.height, : rig.width]
        directions = rig.rays(np.stack([u, v], -1)) @ object_from_left[:3, :3].T
        return self.cast(object_from_left[:3, 3], directions)

    def interpolate(self, hit: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
        """Per-vertex `values` (V, C) at the hits -> (..., C) float64; 0 where nothing was hit."""
        corner = self.faces[np.maximum(hit["face"], 0)]
        u, v = hit["uv"][..., :1].astype(float), hit["uv"][..., 1:].astype(float)
        out = values[corner[..., 0]] * (1 - u - v) + values[corner[..., 1]] * u + values[corner[..., 2]] * v
        return np.where(hit["face"][..., None] >= 0, out, 0.0)


def shade(
    vertices: np.ndarray, faces: np.ndarray, object_from_left: np.ndarray, rig: Rig, colors: np.ndarray | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 picture with a headlight on white; `colors` (V, 3) uint8 per vertex, grey clay without."""
    return shade_view(Caster(vertices, faces), object_from_left, rig, colors)


def shade_view(caster: Caster, object_from_left: np.ndarray, rig: Rig, colors: np.ndarray | None = None) -> np.ndarray:
    """`shade` for a mesh that is looked at more than once."""
    hit = caster.view(object_from_left, rig)
    v, u = np.mgrid[: rig.height, : rig.width]
    rays = rig.rays(np.stack([u, v], -1)) @ object_from_left[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    facing = np.abs(np.sum(hit["normal"] * rays, -1))
    base = np.full((*facing.shape, 3), 215.0) if colors is None else caster.interpolate(hit, np.asarray(colors, float))
    strength = 0.12 + 0.88 * facing if colors is None else _AMBIENT + (1 - _AMBIENT) * facing
    image = np.where(np.isfinite(hit["t"])[..., None], base * strength[..., None], BACKGROUND)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def turntable_rig(vertices: np.ndarray, size: int = 320, elevation_deg: float = 15.0) -> tuple[Rig, list[np.ndarray]]:
    """A rig of `size` x `size` px and four object_from_left a quarter turn apart round the up axis (-y) that see all vertices."""
    vertices = np.asarray(vertices, float)
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = max(float(np.linalg.norm(vertices - centre, axis=1).max()), 1e-6)
    distance, half = 4.0 * radius, 1.05
    focal = (size / 2) * np.sqrt(distance**2 - (half * radius) ** 2) / (half * radius)
    rig = Rig(size, size, focal, focal, cx=(size - 1) / 2, cy=(size - 1) / 2, baseline_m=0.1 * distance)
    return rig, [_look_at(centre, distance, np.radians(a), np.radians(elevation_deg)) for a in (0, 90, 180, 270)]


def _look_at(centre: np.ndarray, distance: float, azimuth: float, elevation: float) -> np.ndarray:
    """object_from_left of a camera on a sphere round `centre`, image y pointing down (+y of the object frame)."""
    away = np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), -np.cos(azimuth) * np.cos(elevation)])
    z = -away
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3] = np.stack([x, np.cross(z, x), z], 1)
    out[:3, 3] = centre + away * distance
    return out
