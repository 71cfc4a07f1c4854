"""How the object stands: on the plane that the capture shows, else in its most likely stable pose; and the frame that follows from it.

The upright frame has z up, z = 0 on the ground and its origin under the centre of mass. Of all turns that set the object upright it has the
smallest from the twin's frame, so that its front stays its front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.geometry.planes import fitted
from stages.core.geometry.support_plane import MIN_SUPPORT_POINTS, support_plane
from stages.core.twin_frame import TWIN_FROM_OBJECT, Z_UP_FROM_TWIN
from stages.physics.shapes import Shape
from stages.physics.stable import StablePose

SEEN, STABLE, TWIN = "seen", "stable pose", "twin frame"
UP_AGREES_DEG = 5.0
"""the bundle stage has set the frame's up along the plane where it found one: another plane is not the support"""
NEAR_PLANE = 0.02
"""share of the object's size; within it points are fitted, those beyond 2.5 robust deviations left out"""
Z_UP_FROM_OBJECT = Z_UP_FROM_TWIN @ TWIN_FROM_OBJECT


@dataclass(frozen=True)
class Seen:
    """A plane: up (3,) unit, its height along it in metres, how far the lowest point of the mesh lies above it (negative: below), and the
    number of points it rests on."""

    up: np.ndarray
    height: float
    gap_m: float
    points: int


@dataclass(frozen=True)
class Support:
    """upright_from_object (4, 4); source: SEEN, STABLE or TWIN; settles_deg: angle to the nearest stable pose."""

    upright_from_object: np.ndarray
    source: str
    reason: str
    settles_deg: float | None = None
    seen: Seen | None = None


def find_support(
    mesh: Shape, seen: Seen | None, centre: np.ndarray, poses: list[StablePose], keep_frame: bool
) -> Support:
    """`seen`: the plane under the object, `centre` (3,) of mass, all in the object frame (OpenCV axes)."""
    if keep_frame:
        frame = np.eye(4)
        frame[:3, :3] = Z_UP_FROM_OBJECT
        return Support(frame, TWIN, "physics.frame=twin: the twin's frame with z up")
    if seen is None:
        pose = poses[0]
        reason = f"the most likely of {len(poses)} stable poses of its convex hull ({100 * pose.probability:.0f} %)"
        return Support(_standing(mesh, pose.up, centre), STABLE, reason, settles_deg=0.0)
    angle = float(np.degrees(min(np.arccos(np.clip(p.up @ seen.up, -1, 1)) for p in poses)))
    return Support(
        _standing(mesh, seen.up, centre), SEEN, "the plane that the capture shows below it", angle, seen=seen
    )


def above_ground(vertices: np.ndarray, up: np.ndarray, height: float) -> np.ndarray:
    """(V, 3) vertices with those below the plane lifted onto it. What lies there was never seen: the surface was closed somehow, and the
    object cannot reach into what it stands on. The mesh stays closed."""
    return vertices + np.maximum(height - vertices @ up, 0.0)[:, None] * up


def seen_plane(mesh: Shape, scene: np.ndarray, seed: int = 0) -> Seen | None:
    """From the points (S, 3) of the scene; None where the capture shows no plane."""
    scene = scene[np.isfinite(scene).all(1)]
    own = mesh.vertices[:: max(1, len(mesh.vertices) // 5000)]
    plane = support_plane(own, scene, seed) if len(scene) >= MIN_SUPPORT_POINTS else None
    if plane is None or np.degrees(np.arccos(np.clip(plane[1], -1, 1))) > UP_AGREES_DEG:
        return None
    normal, middle = plane[:3], -plane[3] * plane[:3]
    near = scene[np.linalg.norm(scene - own.mean(0), axis=1) < 1.5 * np.linalg.norm(np.ptp(own, axis=0))]
    limit = NEAR_PLANE * np.linalg.norm(np.ptp(own, axis=0))
    on = near
    for _ in range(6):
        away = np.abs((near - middle) @ normal)
        on = near[away < limit]
        if len(on) < MIN_SUPPORT_POINTS:
            return None
        turned, middle = fitted(on)
        normal = turned if turned @ normal > 0 else -turned
        limit = max(2.5 * 1.4826 * float(np.median(np.abs((on - middle) @ normal))), 2e-4)
    height = float(-(middle @ normal))
    return Seen(-normal, height, float((mesh.vertices @ -normal).min()) - height, len(on))


def _standing(mesh: Shape, up: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """upright_from_object with `up` upwards, the lowest point at 0 and the centre of mass above the origin."""
    out = np.eye(4)
    out[:3, :3] = _smallest_turn(Z_UP_FROM_OBJECT @ up, np.array([0.0, 0.0, 1.0])) @ Z_UP_FROM_OBJECT
    turned = mesh.vertices @ out[:3, :3].T
    middle = out[:3, :3] @ centre
    out[:3, 3] = -np.array([middle[0], middle[1], turned[:, 2].min()])
    return out


def _smallest_turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that takes the unit vector a to b."""
    import cv2

    axis, cosine = np.cross(a, b), float(np.clip(a @ b, -1, 1))
    length = np.linalg.norm(axis)
    if length < 1e-12:
        return np.eye(3) if cosine > 0 else np.diag([1.0, -1.0, -1.0])
    return cv2.Rodrigues(axis / length * np.arctan2(length, cosine))[0]
