"""The equidistant fisheye (Kannala and Brandt 2006, as OpenCV's fisheye module and Kalibr have it).

A ray at angle t from the axis meets the picture at r = t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8), times f, from the centre.
"""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.stereo_calibration import Camera

ROUNDS = 20
NEAR_ZERO = 1e-3
"""depth of a ray that points beside or behind the rectified picture: it lands far outside"""


def undistorted_fisheye(uv: np.ndarray, camera: Camera, R: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N, 2) raw px -> (N, 2) px of K after R, which may be any (3, 3)."""
    xy = (np.asarray(uv, np.float64) - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
    r = np.linalg.norm(xy, axis=1)
    t = angles(r, coefficients(camera))
    along = np.divide(xy, r[:, None], out=np.zeros_like(xy), where=r[:, None] > 1e-12)
    rays = np.c_[along * np.sin(t)[:, None], np.cos(t)] @ R.T
    flat = rays[:, :2] / np.maximum(rays[:, 2:], NEAR_ZERO)
    return flat * [K[0, 0], K[1, 1]] + K[:2, 2]


def angles(r: np.ndarray, k: np.ndarray) -> np.ndarray:
    """(N,) angle from the axis, rad, of normalised radii; by Newton, kept below half a turn."""
    t = np.minimum(r, np.pi / 2)
    for _ in range(ROUNDS):
        s = t * t
        value = t * (1 + s * (k[0] + s * (k[1] + s * (k[2] + s * k[3])))) - r
        slope = 1 + s * (3 * k[0] + s * (5 * k[1] + s * (7 * k[2] + s * 9 * k[3])))
        t = np.clip(t - value / np.where(np.abs(slope) < 1e-6, 1e-6, slope), 0, np.pi)
    return t


def fisheye_maps(camera: Camera, R: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) float32 raw x and y of each pixel of K after R."""
    return cv2.fisheye.initUndistortRectifyMap(camera.K, coefficients(camera)[:, None], R, K, size, cv2.CV_32FC1)


def coefficients(camera: Camera) -> np.ndarray:
    """(4,), zeros where the file gives none."""
    return camera.distortion if camera.distortion.size == 4 else np.zeros(4)
