"""The rigid motion between two frames from points measured in metres in one and seen by both eyes in the other.

Robust start: LO-RANSAC for a generalised camera (both eyes vote), through pycolmap; then iteratively reweighted Gauss-Newton on all
(u, v, u_right) residuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import transform
from stages.core.geometry.stereo_points import project_stereo

_ONE_AT_A_TIME = Lock()
"""pycolmap's random numbers are shared by all threads: two searches at a time would not repeat"""


@dataclass(frozen=True)
class Motion:
    """b_from_a (4, 4); which of the given points agree with it; their rms reprojection error over the seen coordinates, px."""

    b_from_a: np.ndarray
    inliers: np.ndarray
    rms_px: float

    @property
    def count(self) -> int:
        """Number of agreeing points."""
        return int(self.inliers.sum())


def estimate_motion(
    rig: Rig, x_a: np.ndarray, uvr_b: np.ndarray, max_error_px: float, min_inliers: int, seed: int
) -> Motion | None:
    """From (N, 3) points in left camera a and their (N, 3) px in frame b (NaN u_right allowed); None where no motion has the support."""
    if len(x_a) < max(min_inliers, 4):
        return None
    start = _ransac(rig, x_a, uvr_b, max_error_px, seed)
    if start is None:
        return None
    return refine_motion(rig, start, x_a, uvr_b, max_error_px, min_inliers)


def refine_motion(
    rig: Rig,
    b_from_a: np.ndarray,
    x_a: np.ndarray,
    uvr_b: np.ndarray,
    max_error_px: float,
    min_inliers: int = 4,
    iterations: int = 10,
) -> Motion | None:
    """Gauss-Newton with Cauchy weights from a start; None when fewer than `min_inliers` points stay within `max_error_px`."""
    pose = b_from_a.copy()
    robust = max_error_px / 3
    for _ in range(iterations):
        x_b = transform(pose, x_a)
        residual = project_stereo(rig, x_b) - uvr_b
        weight = np.where(np.isfinite(residual), 1 / (1 + (residual / robust) ** 2), 0.0)
        step = _normal_step(rig, x_b, np.nan_to_num(residual), weight)
        if step is None:
            return None
        pose = _left_update(step, pose)
        if np.abs(step).max() < 1e-8:
            break
    residual = project_stereo(rig, transform(pose, x_a)) - uvr_b
    inliers = agreeing(residual, max_error_px)
    if inliers.sum() < min_inliers:
        return None
    return Motion(pose, inliers, float(np.sqrt(np.nanmean(residual[inliers] ** 2))))


def agreeing(residual_px: np.ndarray, max_error_px: float) -> np.ndarray:
    """(N,) bool: the left error, and the right one where it was measured, stay within the limit."""
    left = np.hypot(residual_px[:, 0], residual_px[:, 1])
    return (left < max_error_px) & ~(np.abs(residual_px[:, 2]) > max_error_px)


def _ransac(rig: Rig, x_a: np.ndarray, uvr_b: np.ndarray, max_error_px: float, seed: int) -> np.ndarray | None:
    import pycolmap

    both = np.flatnonzero(np.isfinite(uvr_b[:, 2]))
    camera = pycolmap.Camera(
        model="PINHOLE", width=rig.width, height=rig.height, params=[rig.fx, rig.fy, rig.cx, rig.cy]
    )
    eyes = [pycolmap.Rigid3d(), pycolmap.Rigid3d(rig.right_from_left[:3])]
    pixels = np.concatenate([uvr_b[:, :2], uvr_b[both][:, [2, 1]]])
    points = np.concatenate([x_a, x_a[both]])
    index = [0] * len(x_a) + [1] * len(both)
    options = pycolmap.RANSACOptions(
        max_error=max_error_px, random_seed=seed, min_num_trials=200, max_num_trials=5000, confidence=0.9999
    )
    with _ONE_AT_A_TIME:
        found = pycolmap.estimate_generalized_absolute_pose(pixels, points, index, eyes, [camera, camera], options)
    if found is None:
        return None
    out = np.eye(4)
    out[:3] = found["rig_from_world"].matrix()
    return out


def _normal_step(rig: Rig, x_b: np.ndarray, residual: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """(6,) rotation vector and translation, applied from the left, that reduces the weighted residuals."""
    z = np.where(x_b[:, 2] > 0, x_b[:, 2], np.inf)
    zero = np.zeros(len(z))
    by_x = np.stack(
        [
            np.stack([rig.fx / z, zero, rig.fx / z], 1),
            np.stack([zero, rig.fy / z, zero], 1),
            np.stack(
                [-rig.fx * x_b[:, 0] / z**2, -rig.fy * x_b[:, 1] / z**2, -rig.fx * (x_b[:, 0] - rig.baseline_m) / z**2],
                1,
            ),
        ],
        2,
    )
    by_rotation = np.cross(x_b[:, None, :], by_x)  # d(w x X)/dw: row . (w x X) = w . (X x row)
    j = np.concatenate([by_rotation, by_x], 2)
    normal = np.einsum("nri,nrj,nr->ij", j, j, weight)
    right = -np.einsum("nri,nr,nr->i", j, residual, weight)
    scale = np.sqrt(np.diag(normal))
    if not np.all(scale > 0):
        return None
    scaled = normal / np.outer(scale, scale)
    if np.linalg.cond(scaled) > 1e10:
        return None
    return np.linalg.solve(scaled, right / scale) / scale


def _left_update(step: np.ndarray, pose: np.ndarray) -> np.ndarray:
    delta = np.eye(4)
    delta[:3, :3] = cv2.Rodrigues(step[:3])[0]
    delta[:3, 3] = step[3:]
    return delta @ pose
