"""One pinhole for all pictures: distortion undone and intrinsics made equal in one resampling, or none where a picture has it already.

The stages behind know one rig. Its focal length is the longest of the pictures', so that no detail is lost, and its picture covers what
any of them saw; what a picture did not see is marked unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.posed_cameras import PosedCamera
from stages.core.resampling import not_seen, resampled

SAME_PX = 0.02
"""principal points and focal lengths that differ by less are the same: a tenth of what a picture's edge can be read to"""
MOST_GROWTH = 3.0
"""a common picture of more than so many times the largest one's pixels is refused"""


@dataclass(frozen=True)
class Pinhole:
    """K (3, 3) px for `width` x `height`."""

    width: int
    height: int
    K: np.ndarray

    def scaled(self, scale: float) -> Pinhole:
        """Pixel centres at integers."""
        w, h = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        S = np.array(
            [
                [w / self.width, 0, 0.5 * w / self.width - 0.5],
                [0, h / self.height, 0.5 * h / self.height - 0.5],
                [0, 0, 1],
            ]
        )
        return Pinhole(w, h, S @ self.K)


def undistorted(camera: PosedCamera) -> Pinhole:
    """The pinhole of one picture after its distortion is undone: what every pixel of it can be filled from."""
    size = (camera.width, camera.height)
    match camera.lens:
        case "opencv":
            K = cv2.getOptimalNewCameraMatrix(camera.K, np.array(camera.distortion), size, 0, size)[0]
        case "fisheye":
            D = np.array(camera.distortion)
            K = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(camera.K, D, size, np.eye(3), balance=0.0)
        case _:
            K = camera.K
    return Pinhole(*size, K)


def common(lenses: Sequence[Pinhole]) -> Pinhole:
    """The pinhole that all pictures are brought to. Raises CaptureError where they are too different to share one."""
    first = lenses[0]
    same = all(
        (p.width, p.height) == (first.width, first.height)
        and np.abs(p.K - first.K).max() < SAME_PX
        and abs(p.K[0, 1]) < SAME_PX
        for p in lenses
    )
    if same:
        K = np.median([p.K for p in lenses], 0)
        K[0, 1] = 0
        return Pinhole(first.width, first.height, K)
    fx, fy = (max(p.K[i, i] for p in lenses) for i in (0, 1))
    edges = np.array([_edges(p) for p in lenses])
    left, top, right, bottom = *edges[:, :2].min(0), *edges[:, 2:].max(0)
    width, height = int(np.ceil(fx * (right - left) - 1e-6)), int(np.ceil(fy * (bottom - top) - 1e-6))
    largest = max(p.width * p.height for p in lenses)
    if width * height > MOST_GROWTH * largest:
        raise CaptureError(
            f"the pictures' lenses differ too much for one picture size ({width}x{height} px would be needed)",
            "reconstruct the pictures of one camera, or resize them to similar focal lengths in px",
        )
    return Pinhole(width, height, np.array([[fx, 0, -0.5 - fx * left], [0, fy, -0.5 - fy * top], [0, 0, 1]]))


def _edges(p: Pinhole) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the picture at distance 1."""
    K = p.K
    return (
        (-0.5 - K[0, 2]) / K[0, 0],
        (-0.5 - K[1, 2]) / K[1, 1],
        (p.width - 0.5 - K[0, 2]) / K[0, 0],
        (p.height - 0.5 - K[1, 2]) / K[1, 1],
    )


@dataclass(frozen=True)
class Warp:
    """From a camera's own picture to the common one. `maps` None: the picture is that already."""

    size: tuple[int, int]
    maps: tuple[np.ndarray, np.ndarray] | None
    outside: np.ndarray | None
    """(H, W) bool: what the camera did not see"""

    @staticmethod
    def of(camera: PosedCamera, target: Pinhole) -> Warp:
        """Exact to 1e-3 px."""
        size = (target.width, target.height)
        if (
            camera.lens == "none"
            and size == (camera.width, camera.height)
            and np.abs(camera.K - target.K).max() < SAME_PX
        ):
            return Warp(size, None, None)
        v, u = np.mgrid[: target.height, : target.width].astype(np.float64)
        rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(target.K).T
        x, y = (a.reshape(v.shape) for a in _distorted(camera, rays).T)
        return Warp(size, (x.astype(np.float32), y.astype(np.float32)), not_seen(x, y, (camera.width, camera.height)))

    def __call__(self, picture: np.ndarray, interpolation: int = cv2.INTER_LANCZOS4) -> np.ndarray:
        """(h, w[, C]) -> the common picture; 0 where the camera saw nothing."""
        if self.maps is None:
            return picture
        return resampled(picture, self.maps, self.outside, interpolation)


def _distorted(camera: PosedCamera, rays: np.ndarray) -> np.ndarray:
    """(N, 2) px of the camera's own picture that rays (N, 3), z = 1, fall on."""
    match camera.lens:
        case "opencv":
            return cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.K, np.array(camera.distortion))[0].reshape(
                -1, 2
            )
        case "fisheye":
            points = rays[:, None, :2].copy()
            return cv2.fisheye.distortPoints(points, camera.K, np.array(camera.distortion)).reshape(-1, 2)
        case _:
            x = rays @ camera.K.T
            return x[:, :2] / x[:, 2:]
