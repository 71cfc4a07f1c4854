"""What the object stands on, from the features of all frames: one frame's disparities over a bare table are copies of the object's own.

A copy moves with the camera, so it fits no plane of the scene; the few true points (shadow edges, specks) of all frames together do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.planes import fitted, normal_of_three
from stages.core.geometry.rigid import transform
from stages.masks.frame.working_frame import WorkingFrame

TOLERANCE = 0.008
"""of the cameras' distance: how far a point may lie from the plane, by its depth's error and that of the camera's place"""
LEAST_SHARE, LEAST_POINTS = 0.04, 60
"""of the points that are not the object's, which must lie on the plane"""
MAX_BEHIND = 0.05
"""share of the object that may lie behind what it stands on"""
TRIALS = 400
SURE_PX = 1.0
"""standard deviation of the disparities that are asked where features tell nothing"""
LOOKED_AT, POINTS_OF_ONE = 10, 4000
"""frames, and points of each, that are asked then"""
LEAST_TURNING = 0.35
"""radians that a camera must turn in all to have an axis"""
ACROSS = 0.75
"""cosine of the largest angle between that axis and what the object stands on"""


@dataclass(frozen=True)
class Support:
    """Plane normal . x = offset, metres, in the scene's frame, every camera at normal . x < offset; rms_m: scatter of its points."""

    normal: np.ndarray
    offset: float
    rms_m: float
    points: int


def support_plane(
    points: np.ndarray,
    cameras: np.ndarray,
    of_object: np.ndarray,
    rng: np.random.Generator,
    axis: np.ndarray | None = None,
) -> Support | None:
    """The plane that most of the (N, 3) points of the scene lie on, with all (M, 3) cameras and the object (K, 3) on one side of it.

    A face of the object has the object behind it, or some camera of a round trip. With `axis` (3,) the plane lies across it. None when
    too few points agree.
    """
    if len(points) < LEAST_POINTS:
        return None
    centre = np.median(of_object, axis=0)
    reach = float(np.median(np.linalg.norm(cameras - centre, axis=1)))
    near = points[np.linalg.norm(points - centre, axis=1) < 1.5 * reach]
    tolerance = TOLERANCE * reach
    best, best_count = None, 0
    for _ in range(TRIALS if len(near) >= LEAST_POINTS else 0):
        plane = _through(near[rng.choice(len(near), 3, replace=False)], cameras[0])
        if plane is None or not _holds(plane, cameras, of_object, tolerance) or not _across(plane[0], axis):
            continue
        count = int((np.abs(near @ plane[0] - plane[1]) < tolerance).sum())
        if count > best_count:
            best, best_count = plane, count
    if best is None or best_count < max(LEAST_POINTS, LEAST_SHARE * len(near)):
        return None
    return _polished(best, near, tolerance, cameras[0])


def turning_axis(scene_from_left: Sequence[np.ndarray]) -> np.ndarray | None:
    """(3,) unit axis about which a camera turns from pose to pose (4, 4), in the scene; None when it hardly turns."""
    turns = [cv2.Rodrigues(b[:3, :3] @ a[:3, :3].T)[0][:, 0] for a, b in pairwise(scene_from_left)]
    if sum(float(np.linalg.norm(t)) for t in turns) < LEAST_TURNING:
        return None
    return np.linalg.eigh(np.sum([np.outer(t, t) for t in turns], axis=0))[1][:, -1]


def sure_points(
    views: Iterable[WorkingFrame], scene_from_left: Mapping[int, np.ndarray], rig: Rig, rng: np.random.Generator
) -> np.ndarray:
    """(N, 3) metres in the scene: what the placed frames see with a sure disparity, texture or not: the edge of a shadow is enough."""
    found = [np.zeros((0, 3))]
    for view in views:
        v, u = np.nonzero(np.isfinite(view.disparity) & (view.sigma < SURE_PX))
        pick = rng.choice(len(u), min(len(u), POINTS_OF_ONE), replace=False)
        u, v = u[pick], v[pick]
        x = view.points(u, v, rig)
        found.append(transform(scene_from_left[view.frame], x))
    return np.concatenate(found)


def _across(normal: np.ndarray, axis: np.ndarray | None) -> bool:
    return axis is None or abs(float(normal @ axis)) > ACROSS


def _through(three: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, float] | None:
    normal = normal_of_three(three)
    if normal is None:
        return None
    offset = float(normal @ three[0])
    return (normal, offset) if normal @ camera < offset else (-normal, -offset)


def _holds(plane: tuple[np.ndarray, float], cameras: np.ndarray, of_object: np.ndarray, tolerance: float) -> bool:
    normal, offset = plane
    return bool(
        (cameras @ normal < offset - 2 * tolerance).all()
        and np.mean(of_object @ normal > offset + tolerance) < MAX_BEHIND
    )


def _polished(plane: tuple[np.ndarray, float], points: np.ndarray, tolerance: float, camera: np.ndarray) -> Support:
    normal, offset = plane
    for reach in (1.0, 0.7, 0.7, 0.7):
        on = points[np.abs(points @ normal - offset) < reach * tolerance]
        normal, middle = fitted(on)
        offset = float(normal @ middle)
    if normal @ camera > offset:
        normal, offset = -normal, -offset
    rms = float(np.sqrt(np.mean(np.square(on @ normal - offset))))
    return Support(normal, offset, rms, len(on))


@dataclass(frozen=True)
class GroundGrid:
    """A square picture of the plane: pixel (i, j) shows the point origin + i * across + j * along, metres, of the scene."""

    origin: np.ndarray
    across: np.ndarray
    along: np.ndarray
    size: int

    def left_from_grid(self, scene_from_left: np.ndarray, rig: Rig) -> np.ndarray:
        """(3, 3) homography to the pixels of a left camera; its third coordinate is the depth in metres."""
        columns = np.stack([self.across, self.along, self.origin - scene_from_left[:3, 3]], axis=1)
        return rig.K @ scene_from_left[:3, :3].T @ columns


def ground_grid(
    support: Support, centre: np.ndarray, cameras: np.ndarray, rig: Rig, size: int, width: float
) -> GroundGrid:
    """`size` pixels a side round the foot of `centre` (3,), `width` times as wide as the picture is there."""
    foot = centre + (support.offset - support.normal @ centre) * support.normal
    reach = float(np.median(np.linalg.norm(cameras - foot, axis=1)))
    step = width * rig.width / rig.fx * reach / size
    axis = np.eye(3)[int(np.argmin(np.abs(support.normal)))]
    across = np.cross(support.normal, axis)
    across *= step / np.linalg.norm(across)
    along = np.cross(support.normal, across)
    return GroundGrid(foot - (size - 1) / 2 * (across + along), across, along, size)
