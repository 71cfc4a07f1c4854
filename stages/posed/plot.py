"""Cameras drawn with their pictures: frusta round the object, each with its picture in front, from any side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera_service import orbit

SIZE = 420
FRUSTUM = 0.16
"""depth of a frustum, as a share of the scene's radius"""
LINE, GUILTY = (70, 90, 120), (200, 30, 30)


@dataclass(frozen=True)
class Shown:
    """A camera with its picture (h, w, 3) uint8, small."""

    name: str
    picture: np.ndarray
    K: np.ndarray
    world_from_camera: np.ndarray


def turning(cameras: Sequence[Shown], centre: np.ndarray, guilty: str = "", count: int = 6) -> np.ndarray:
    """(2 SIZE, 3 SIZE, 3) uint8: the scene from `count` sides of a turn round it; the camera `guilty` in red."""
    eyes = np.array([c.world_from_camera[:3, 3] for c in cameras])
    radius = float(np.linalg.norm(eyes - centre, axis=1).max())
    up = -np.mean([c.world_from_camera[:3, 1] for c in cameras], 0)
    up = up if np.linalg.norm(up) > 0.1 else np.array([0, 1.0, 0])
    views = [
        scene(cameras, centre, pose, radius, guilty=guilty)
        for pose in orbit(centre, 3.2 * radius, count, up, elevation_rad=0.45)
    ]
    return np.vstack([np.hstack(views[: count // 2]), np.hstack(views[count // 2 :])])


def scene(
    cameras: Sequence[Shown], centre: np.ndarray, world_from_eye: np.ndarray, radius: float, guilty: str = ""
) -> np.ndarray:
    """One look at the scene: far cameras first."""
    out = np.full((SIZE, SIZE, 3), 250, np.uint8)
    eye_from_world = np.linalg.inv(world_from_eye)
    f = 1.15 * SIZE
    P = np.array([[f, 0, SIZE / 2], [0, f, SIZE / 2], [0, 0, 1]]) @ eye_from_world[:3]
    depth = [float(eye_from_world[2, :3] @ c.world_from_camera[:3, 3]) for c in cameras]
    at = _project(P, centre[None])[0]
    cv2.circle(out, (round(at[0]), round(at[1])), 4, (30, 140, 60), -1, cv2.LINE_AA)
    for k in np.argsort(depth)[::-1]:
        _draw(out, P, cameras[k], FRUSTUM * radius, colour=GUILTY if cameras[k].name == guilty else LINE)
    return out


def _draw(out: np.ndarray, P: np.ndarray, camera: Shown, depth: float, colour: tuple[int, int, int]) -> None:
    h, w = camera.picture.shape[:2]
    corners = np.array([[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]])
    rays = np.linalg.solve(camera.K, np.c_[corners, np.ones(4)].T).T
    # wide lenses must not cover their neighbours
    rays *= depth / max(1.0, float(np.abs(rays[:, :2]).max()) / 0.5)
    world = rays @ camera.world_from_camera[:3, :3].T + camera.world_from_camera[:3, 3]
    frame, eye = _project(P, world), _project(P, camera.world_from_camera[None, :3, 3])[0]
    if not np.isfinite(frame).all() or not np.isfinite(eye).all():
        return
    H = cv2.getPerspectiveTransform(corners.astype(np.float32), frame.astype(np.float32))
    warped = cv2.warpPerspective(camera.picture, H, (SIZE, SIZE), flags=cv2.INTER_AREA)
    inside = cv2.fillConvexPoly(np.zeros((SIZE, SIZE), np.uint8), np.rint(frame).astype(np.int32), 1) > 0
    out[inside] = warped[inside]
    for a, b in zip(frame, np.roll(frame, -1, 0), strict=True):
        cv2.line(out, _pixel(a), _pixel(b), colour, 1, cv2.LINE_AA)
        cv2.line(out, _pixel(a), _pixel(eye), colour, 1, cv2.LINE_AA)
    cv2.putText(out, camera.name[-12:], _pixel(eye), cv2.FONT_HERSHEY_SIMPLEX, 0.32, colour, 1, cv2.LINE_AA)


def _project(P: np.ndarray, points: np.ndarray) -> np.ndarray:
    x = points @ P[:, :3].T + P[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x[:, 2:] > 1e-9, x[:, :2] / x[:, 2:], np.nan)


def _pixel(at: np.ndarray) -> tuple[int, int]:
    return int(np.clip(at[0], -4 * SIZE, 4 * SIZE)), int(np.clip(at[1], -4 * SIZE, 4 * SIZE))
