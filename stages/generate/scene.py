"""What is known of the object as a model gets it: a room round it, and square pictures that look at its middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.core.camera import Rig

MARGIN = 1.05
"""the ball about the mesh's box fills the picture but for this"""
LEAST_DISTANCE = 1.1
"""of a camera from the centre, in units of the room, for its focal length"""


@dataclass(frozen=True)
class Room:
    """Where the units of the contract lie: centre (3,) in the object frame, and how many metres are 1."""

    centre: np.ndarray
    half: float

    @staticmethod
    def about(vertices: np.ndarray) -> Room:
        """Of a mesh (V, 3)."""
        low, high = vertices.min(0).astype(float), vertices.max(0).astype(float)
        return Room((low + high) / 2, float(np.linalg.norm(high - low)) / 2)

    def posed(self, object_from_camera: np.ndarray) -> np.ndarray:
        """The pose (4, 4) with its place in units of the room."""
        out = np.array(object_from_camera, float)
        out[:3, 3] = (out[:3, 3] - self.centre) / self.half
        return out

    def focal_px(self, object_from_camera: np.ndarray, size: int) -> float:
        """With which a camera that looks at the centre sees the whole room in a picture of `size`."""
        away = max(float(np.linalg.norm(object_from_camera[:3, 3] - self.centre)) / self.half, LEAST_DISTANCE)
        return size / 2 * float(np.sqrt(away**2 - 1)) / MARGIN


@dataclass(frozen=True)
class Crop:
    """picture (S, S, 3) uint8 on white, mask (S, S) bool, the camera that would have taken it (rig; pose in the object frame)."""

    picture: np.ndarray
    mask: np.ndarray
    rig: Rig
    pose: np.ndarray


def square_rig(focal_px: float, size: int) -> Rig:
    """A camera whose axis is in the middle of its picture. The baseline means nothing."""
    return Rig(size, size, focal_px, focal_px, cx=(size - 1) / 2, cy=(size - 1) / 2, baseline_m=1.0)


def crop(rgb: np.ndarray, mask: np.ndarray, rig: Rig, pose: np.ndarray, room: Room, size: int) -> Crop:
    """The picture as it would be had the camera been turned, where it stood, to look at the centre of the room."""
    aimed = looking_at(pose, room.centre)
    square = square_rig(room.focal_px(pose, size), size)
    scale = min(1.0, square.fx / rig.fx)
    small = rig.scaled(scale)
    on_white = np.where(mask[..., None], rgb, np.uint8(255))
    resized = [
        cv2.resize(a, (small.width, small.height), interpolation=cv2.INTER_AREA)
        for a in (on_white, mask.astype(np.float32))
    ]
    to_square = square.K @ aimed[:3, :3].T @ pose[:3, :3] @ np.linalg.inv(small.K)

    def warp(a, beyond):
        return cv2.warpPerspective(a, to_square, (size, size), flags=cv2.INTER_LINEAR, borderValue=beyond)

    return Crop(warp(resized[0], (255, 255, 255)), warp(resized[1], 0) > 0.5, square, aimed)


def looking_at(pose: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The camera turned in its place to look at `centre`, as little about its axis as can be."""
    z = (centre - pose[:3, 3]) / max(float(np.linalg.norm(centre - pose[:3, 3])), 1e-12)
    x = pose[:3, 0] - z * (pose[:3, 0] @ z)
    if np.linalg.norm(x) < 1e-6:  # it looked exactly sideways: its own axis is the new x
        x = pose[:3, 2] - z * (pose[:3, 2] @ z)
    x /= np.linalg.norm(x)
    out = np.array(pose, float)
    out[:3, :3] = np.stack([x, np.cross(z, x), z], 1)
    return out


@dataclass
class Known:
    """The pictures with a pose, as crops of one size; read when they are first asked for."""

    rig: Rig
    poses: Mapping[int, np.ndarray]
    rgb: Callable[[int], np.ndarray]
    mask: Callable[[int], np.ndarray]
    room: Room
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    """(M, 3) float32 of the room, of the surface that was seen"""

    def crops(self, frames: Sequence[int], size: int) -> list[Crop]:
        """Of these frames."""
        return [crop(self.rgb(k), self.mask(k), self.rig, self.poses[k], room=self.room, size=size) for k in frames]

    def given(self, crops: Sequence[Crop], seed: int) -> dict[str, np.ndarray]:
        """What a model gets of them."""

        def single(a):
            return np.ascontiguousarray(a, np.float32)

        return {
            "pictures": single(np.stack([c.picture.transpose(2, 0, 1) / 255 for c in crops])),
            "opacities": single(np.stack([c.mask[None] for c in crops])),
            "intrinsics": single(np.stack([c.rig.K for c in crops])),
            "object_from_camera": single(np.stack([self.room.posed(c.pose) for c in crops])),
            "points": single(self.points),
            "seed": np.array(seed, np.int64),
        }

    def asked(self, crops: Sequence[Crop], pose: np.ndarray, rig: Rig) -> dict[str, np.ndarray]:
        """What it gets of the camera that is asked for."""
        here = self.room.posed(pose)
        view_from_camera = np.stack([np.linalg.inv(here) @ self.room.posed(c.pose) for c in crops])
        return {
            "view_from_camera": view_from_camera.astype(np.float32),
            "view_intrinsics": rig.K.astype(np.float32),
            "view_object_from_camera": here.astype(np.float32),
        }
