"""How camera and object move: (object_from_left, world_from_left) of every frame.

World frame: y DOWN. `orbit`: the object stands in the world's origin and the camera goes round it. `inhand`: the camera is the world's
origin and the object turns before it. `both`: the camera goes round while the object creeps and turns on the table.
"""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.geometry.rigid import inverse
from stages.core.synthetic.render import look_at
from tools.capture_rendering.spec import RenderSpec

Pose = tuple[np.ndarray, np.ndarray]


def poses(spec: RenderSpec) -> list[Pose]:
    """(object_from_left, world_from_left), each (4, 4), of every frame."""
    make = {"orbit": _orbit, "inhand": _inhand, "both": _both}[spec.motion]
    return [make(spec, k / spec.frames) for k in range(spec.frames)]


def _orbit(spec: RenderSpec, t: float) -> Pose:
    a, swing = np.radians(spec.turn_deg) * t, 2 * np.pi * spec.swings * t
    low, high = np.radians(spec.elevation_deg)
    elevation = (low + high) / 2 - (high - low) / 2 * np.cos(swing)
    r = spec.distance_m * (1 + 0.03 * np.sin(4 * np.pi * t + 0.5))
    eye = r * np.array([np.sin(a) * np.cos(elevation), -np.sin(elevation), -np.cos(a) * np.cos(elevation)])
    off = 0.04 * spec.distance_m * np.array([np.cos(5 * t), np.sin(7 * t), np.sin(4 * t)])
    pose = look_at(eye, off + np.array(spec.aim_m), np.array([0.03 * np.sin(9 * t), 1.0, 0.0]))
    return pose, pose


def _inhand(spec: RenderSpec, t: float) -> Pose:
    a, swing = np.radians(spec.turn_deg) * t, 2 * np.pi * spec.swings * t
    low, high = np.radians(spec.elevation_deg)
    tilt = (low + high) / 2 - (high - low) / 2 * np.cos(swing)
    left_from_object = np.eye(4)
    left_from_object[:3, :3] = _turned([-tilt, 0, 0]) @ _turned([0, 0, 0.3 * np.sin(swing / 2)]) @ _turned([0, a, 0])
    r = spec.distance_m
    left_from_object[:3, 3] = [0.05 * r * np.sin(6 * t + 1), 0.04 * r * np.cos(8 * t), r * (1 + 0.03 * np.sin(7 * t))]
    left_from_object[:3, 3] -= left_from_object[:3, :3] @ np.array(spec.aim_m)
    return inverse(left_from_object), np.eye(4)


def _both(spec: RenderSpec, t: float) -> Pose:
    world_from_left = _orbit(spec, t)[1]
    world_from_object = np.eye(4)
    world_from_object[:3, :3] = _turned([0, 2.2 * t, 0])
    world_from_object[:3, 3] = [0.06 * np.sin(5 * t), 0, 0.06 * t]
    return inverse(world_from_object) @ world_from_left, world_from_left


def _turned(rotation: list[float]) -> np.ndarray:
    return cv2.Rodrigues(np.array(rotation, float))[0]
