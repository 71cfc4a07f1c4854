"""Renders bodies that move: colour, and what each pixel shows. Every ray has a time of its own, so rows may roll and pictures blur.

World frame: y DOWN, metres. Rays have z = 1 in the camera, so that their length is the depth. A ray belongs to a band of rows, which are
exposed at one time: rays are (B, M, 3), B bands of M rays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse
from stages.core.render import Caster

Path = Callable[[float], np.ndarray]
"""time -> (4, 4) pose in the world"""
_GLOSS_EXPONENT = 40.0
_LIFT_M = 3e-4
_LAMP_SPREAD = 0.05
_ABSENT_M = 50.0
"""a body that is farther away than this is not there at that time"""


@dataclass(frozen=True)
class Body:
    """A mesh (V, 3), (F, 3) with `paint` (points, normals, faces -> linear RGB) and `world_from_body` at any time."""

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    paint: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    world_from_body: Path
    gloss: float = 0.0
    smooth: bool = True
    """shaded round, as a curved surface; False = every face flat"""
    casts_shadow: bool = True

    @cached_property
    def caster(self) -> Caster:
        """For rays."""
        return Caster(self.vertices, self.faces)

    @cached_property
    def normals(self) -> np.ndarray:
        """(V, 3) of vertices."""
        import trimesh

        return np.array(trimesh.Trimesh(self.vertices, self.faces, process=False).vertex_normals)

    @cached_property
    def ball(self) -> tuple[np.ndarray, float]:
        """Centre and radius of a ball that holds it."""
        centre = (self.vertices.min(0) + self.vertices.max(0)) / 2
        return centre, float(np.linalg.norm(self.vertices - centre, axis=1).max())


@dataclass(frozen=True)
class Light:
    """`lamp` (3,) unit vector towards it; strengths of the lamp and of light from everywhere."""

    lamp: np.ndarray
    strength: float
    ambient: float


@dataclass(frozen=True)
class Seen:
    """What the middle of each pixel shows: depth_m (H, W), NaN = nothing; body (H, W) int, position in the list, -1 = nothing; and
    `whole` (H, W) bool: where body 0 would be seen if nothing stood before it."""

    depth_m: np.ndarray
    body: np.ndarray
    whole: np.ndarray


class World:
    """Bodies under one light; the first body is the object."""

    def __init__(self, bodies: Sequence[Body], light: Light) -> None:
        self.bodies, self.light = tuple(bodies), light

    def colours(
        self, rig: Rig, world_from_eye: Path, times: np.ndarray, offset_px: tuple[float, float], sway: float
    ) -> np.ndarray:
        """(H, W, 3) linear RGB of one ray a pixel, `offset_px` from its middle; `times` (B,): of the bands of rows; `sway`: -1..1, which
        part of the lamp is asked for shadows."""
        view = _View(self.bodies, rig, world_from_eye, times, offset_px=offset_px)
        nearest, hits = view.nearest()
        out = np.full((*nearest.shape, 3), 0.25)
        lamp = self.light.lamp + _LAMP_SPREAD * np.array([sway, 0, -sway])
        for k, hit in enumerate(hits):
            if hit is not None and len(hit.index):
                out.reshape(-1, 3)[hit.index] = self._shaded(k, hit, view, lamp / np.linalg.norm(lamp))
        return out.reshape(rig.height, rig.width, 3)

    def truth(self, rig: Rig, world_from_eye: Path, times: np.ndarray) -> Seen:
        """See Seen."""
        view = _View(self.bodies, rig, world_from_eye, times, offset_px=(0.0, 0.0))
        nearest, hits = view.nearest(sort_out=False)
        depth = np.full(nearest.size, np.inf)
        for hit in hits:
            if hit is not None:
                depth[hit.index] = np.minimum(depth[hit.index], hit.t)
        whole = np.zeros(nearest.size, bool)
        if hits[0] is not None:
            whole[hits[0].index] = True
        shape = (rig.height, rig.width)
        return Seen(
            np.where(np.isfinite(depth), depth, np.nan).reshape(shape), nearest.reshape(shape), whole.reshape(shape)
        )

    def _shaded(self, k: int, hit: _Hit, view: _View, lamp: np.ndarray) -> np.ndarray:
        body, band = self.bodies[k], hit.index // view.per_band
        x, normal, towards_eye = hit.surface(body)
        albedo = body.paint(x, normal, hit.face)
        poses = view.world_from_body[k]
        normal_w, x_w = _turned(poses, normal, band), _moved(poses, x, band)
        facing = np.clip(normal_w @ lamp, 0, None)
        lit = facing > 0
        lit[lit] = ~self._shadowed((x_w + _LIFT_M * normal_w)[lit], lamp, band[lit], view)
        sky = 0.75 - 0.25 * normal_w[:, 1]
        light = self.light.ambient * sky + self.light.strength * facing * lit
        out = albedo * light[:, None]
        if body.gloss:
            half = _turned(poses, towards_eye, band) + lamp
            half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9)
            out = out + body.gloss * (lit * np.clip((normal_w * half).sum(1), 0, None) ** _GLOSS_EXPONENT)[:, None]
        return out

    def _shadowed(self, x_w: np.ndarray, lamp: np.ndarray, band: np.ndarray, view: _View) -> np.ndarray:
        out = np.zeros(len(x_w), bool)
        for k, body in enumerate(self.bodies):
            if not body.casts_shadow:
                continue
            origin = _moved(view.body_from_world[k], x_w, band)
            direction = (view.body_from_world[k][:, :3, :3] @ lamp)[band if len(view.times) > 1 else 0]
            direction = np.broadcast_to(direction, origin.shape)
            near = _meets(origin, direction, body.ball) & ~out
            if near.any():
                out[near] = np.isfinite(body.caster.cast(origin[near], direction[near])["t"])
        return out


@dataclass(frozen=True)
class _Hit:
    """Rays (flat `index`) that meet one body: depth, origin and direction in its frame, face, corner weights."""

    index: np.ndarray
    t: np.ndarray
    origin: np.ndarray
    direction: np.ndarray
    face: np.ndarray
    uv: np.ndarray
    normal: np.ndarray

    def only(self, keep: np.ndarray) -> _Hit:
        if keep.all():
            return self
        return _Hit(
            *(getattr(self, name)[keep] for name in ("index", "t", "origin", "direction", "face", "uv", "normal"))
        )

    def surface(self, body: Body) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points, unit normals towards the viewer and unit directions to the viewer, in the body's frame."""
        x = self.origin + self.direction * self.t[:, None]
        normal = (
            body.caster.interpolate({"face": self.face, "uv": self.uv}, body.normals)
            if body.smooth
            else self.normal.astype(float)
        )
        normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        towards = -self.direction / np.linalg.norm(self.direction, axis=1, keepdims=True)
        return x, np.where((normal * towards).sum(1, keepdims=True) < 0, -normal, normal), towards


class _View:
    """The rays of one eye at the times of its bands, and where all bodies are then."""

    def __init__(self, bodies: Sequence[Body], rig: Rig, world_from_eye: Path, times: np.ndarray, offset_px) -> None:
        self.bodies, self.times = bodies, times
        u, v = np.meshgrid(np.arange(rig.width) + offset_px[0], np.arange(rig.height) + offset_px[1])
        rays = rig.rays(np.stack([u, v], -1)).reshape(len(times), -1, 3)
        self.per_band = rays.shape[1]
        eyes = np.stack([world_from_eye(t) for t in times])
        self.world_from_body = [np.stack([b.world_from_body(t) for t in times]) for b in bodies]
        self.body_from_world = [inverse(poses) for poses in self.world_from_body]
        self._rays, self._eyes = rays, eyes

    def nearest(self, sort_out: bool = True) -> tuple[np.ndarray, list[_Hit | None]]:
        """(N,) body that each ray meets first, -1 = none; and the hits of each body (`sort_out`: those that are seen only)."""
        best, which = (
            np.full(self._rays.shape[0] * self.per_band, np.inf, np.float32),
            np.full(self._rays.shape[0] * self.per_band, -1),
        )
        hits = [self._hits(k) for k in range(len(self.bodies))]
        for k, hit in enumerate(hits):
            if hit is not None:
                first = hit.t < best[hit.index]
                best[hit.index[first]], which[hit.index[first]] = hit.t[first], k
        if sort_out:
            hits = [hit and hit.only(which[hit.index] == k) for k, hit in enumerate(hits)]
        return which, hits

    def _hits(self, k: int) -> _Hit | None:
        if (np.abs(self.world_from_body[k][:, :3, 3]) > _ABSENT_M).any():
            return None
        body, to_body = self.bodies[k], np.matmul(self.body_from_world[k], self._eyes)
        direction = np.matmul(self._rays, to_body[:, :3, :3].transpose(0, 2, 1))
        origin = np.broadcast_to(to_body[:, None, :3, 3], direction.shape)
        direction, origin = direction.reshape(-1, 3), origin.reshape(-1, 3)
        index = np.flatnonzero(_meets(origin, direction, body.ball))
        if not len(index):
            return None
        if len(index) < len(origin):
            origin, direction = origin[index], direction[index]
        found = body.caster.cast(origin, direction)
        met = np.isfinite(found["t"])
        return _Hit(
            index, found["t"], origin, direction, face=found["face"], uv=found["uv"], normal=found["normal"]
        ).only(met)


def _turned(poses: np.ndarray, x: np.ndarray, band: np.ndarray) -> np.ndarray:
    """(N, 3) directions turned by the pose of their band; poses (B, 4, 4), band (N,) ascending."""
    if len(poses) == 1:
        return x @ poses[0, :3, :3].T
    out, ends = np.empty_like(x), np.searchsorted(band, np.arange(len(poses) + 1))
    for pose, first, last in zip(poses, ends[:-1], ends[1:], strict=True):
        out[first:last] = x[first:last] @ pose[:3, :3].T
    return out


def _moved(poses: np.ndarray, x: np.ndarray, band: np.ndarray) -> np.ndarray:
    """(N, 3) points at the pose of their band, as in `_turned`."""
    return _turned(poses, x, band) + poses[band if len(poses) > 1 else 0, :3, 3]


def _meets(origin: np.ndarray, direction: np.ndarray, ball: tuple[np.ndarray, float]) -> np.ndarray:
    """(N,) bool: rays that come within the ball."""
    off = ball[0] - origin
    off2 = np.einsum("ij,ij->i", off, off)
    if off2.max(initial=0.0) < ball[1] ** 2:
        return np.ones(len(origin), bool)
    along, length2 = np.einsum("ij,ij->i", off, direction), np.einsum("ij,ij->i", direction, direction)
    return (off2 < ball[1] ** 2) | ((off2 - along**2 / length2 < (1.01 * ball[1]) ** 2) & (along > 0))
