"""Brings depth to the pixels of the colour picture: undistorted, and from where the depth sensor stands to where the colour camera does.

Each pixel of the depth picture is a small patch of surface; it is drawn over all colour pixels that it covers, nearest first, so that
colour with more pixels than depth gets no holes and what is hidden from the colour camera stays hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np

from stages.core.camera import Rig
from stages.core.resampling import not_seen, resampled
from stages.rgbd.camera_file import DepthCamera, Lens


@dataclass(frozen=True)
class Registering:
    """`maps`: where the colour picture as captured has each pixel of the undistorted one; None where nothing has to be undone."""

    camera: DepthCamera
    size: tuple[int, int]
    maps: tuple[np.ndarray, np.ndarray] | None
    outside: np.ndarray | None
    """(H, W) bool: what the colour camera did not see"""

    @staticmethod
    def of(camera: DepthCamera, size: tuple[int, int]) -> Registering:
        """`size`: (width, height) of the colour pictures."""
        lens = camera.colour.camera
        if not lens.distortion.size:
            return Registering(camera, size, None, None)
        x, y = cv2.initUndistortRectifyMap(lens.K, lens.distortion, np.eye(3), lens.K, size, cv2.CV_32FC1)
        return Registering(camera, size, (x, y), not_seen(x, y, size))

    @property
    def rig(self) -> Rig:
        """The colour camera without distortion; its baseline says nothing yet."""
        K = self.camera.colour.camera.K
        return Rig(*self.size, K[0, 0], K[1, 1], K[0, 2], K[1, 2], 1.0)

    def colour(self, picture: np.ndarray, interpolation: int = cv2.INTER_LANCZOS4) -> np.ndarray:
        """(h, w[, 3]) as captured -> undistorted; black where there is nothing."""
        if self.maps is None:
            return picture
        return resampled(picture, self.maps, self.outside, interpolation)

    def points(self, uv: np.ndarray) -> np.ndarray:
        """(N, 2) px as captured -> px of the undistorted picture."""
        lens = self.camera.colour.camera
        if self.maps is None:
            return uv
        return cv2.undistortPoints(uv[:, None].astype(np.float64), lens.K, lens.distortion, P=lens.K)[:, 0]

    def depth(self, z: np.ndarray) -> np.ndarray:
        """(h, w) metres, NaN = none, as captured -> (H, W) of the undistorted colour picture."""
        if self.camera.depth is not None and self.camera.color_from_depth is not None:
            return self._seen_from_colour(z, self.camera.depth, self.camera.color_from_depth)
        if z.shape[1::-1] != self.size:
            z = cv2.resize(z, self.size, interpolation=cv2.INTER_NEAREST_EXACT)
        if self.maps is None:
            return z
        out = cv2.remap(z, *self.maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"))
        return out

    def _seen_from_colour(self, z: np.ndarray, lens: Lens, color_from_depth: np.ndarray) -> np.ndarray:
        v, u = np.nonzero(np.isfinite(z))
        uv, K = np.stack([u, v], 1).astype(np.float64), lens.camera.K
        if lens.camera.distortion.size:
            xy = cv2.undistortPoints(uv[:, None], K, lens.camera.distortion)[:, 0]
        else:
            xy = (uv - K[:2, 2]) / [K[0, 0], K[1, 1]]
        away = z[v, u].astype(np.float64)
        x = np.c_[xy * away[:, None], away] @ color_from_depth[:3, :3].T + color_from_depth[:3, 3]
        rig = self.rig
        at = rig.project(x)
        # half the side of a depth pixel's patch, in colour pixels
        half = 0.5 * rig.fx * away / (K[0, 0] * np.maximum(x[:, 2], 1e-6))
        out = np.full((rig.height, rig.width), np.nan, np.float32)
        _draw(out, at, x[:, 2], half)
        return out


@numba.njit(cache=True)
def _draw(out, at, z, half):
    height, width = out.shape
    for i in range(len(z)):
        if not (z[i] > 0) or np.isnan(at[i, 0]):
            continue
        first_u, last_u = max(0, int(np.ceil(at[i, 0] - half[i]))), min(width - 1, int(np.floor(at[i, 0] + half[i])))
        first_v, last_v = max(0, int(np.ceil(at[i, 1] - half[i]))), min(height - 1, int(np.floor(at[i, 1] + half[i])))
        if last_u < first_u:
            first_u = last_u = min(max(round(at[i, 0]), 0), width - 1)
        if last_v < first_v:
            first_v = last_v = min(max(round(at[i, 1]), 0), height - 1)
        for v in range(first_v, last_v + 1):
            for u in range(first_u, last_u + 1):
                if not (out[v, u] <= z[i]):
                    out[v, u] = z[i]
