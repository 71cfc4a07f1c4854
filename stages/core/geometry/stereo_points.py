"""Points seen by a rectified rig: projection into both eyes, and triangulation from many frames at once.

A stereo observation is (u, v, u_right): the row is shared, so a point seen by both eyes gives three numbers. u_right is NaN where the
right eye did not see it.
"""

from __future__ import annotations

import numpy as np

from stages.core.camera import Rig


def project_stereo(rig: Rig, x_left: np.ndarray) -> np.ndarray:
    """(..., 3) points in the left camera, metres -> (..., 3) px (u, v, u_right); NaN behind the camera."""
    uv = rig.project(x_left)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(x_left[..., 2] > 0, x_left[..., 2], np.nan)
    return np.concatenate([uv, uv[..., :1] - (rig.fx * rig.baseline_m / z)[..., None]], -1)


def backproject_stereo(rig: Rig, uvr: np.ndarray) -> np.ndarray:
    """(..., 3) px -> (..., 3) points in the left camera, metres; NaN without a positive disparity."""
    return rig.backproject(uvr[..., :2], rig.depth_from_disparity(uvr[..., 0] - uvr[..., 2]))


def stereo_residuals(
    rig: Rig, left_from_object: np.ndarray, frame: np.ndarray, x_object: np.ndarray, uvr: np.ndarray
) -> np.ndarray:
    """Reprojection errors (M, 3) px of M observations; `left_from_object` is (F, 4, 4), `frame` (M,) indexes it, the rest is (M, 3)."""
    r, t = left_from_object[frame, :3, :3], left_from_object[frame, :3, 3]
    return project_stereo(rig, np.einsum("mij,mj->mi", r, x_object) + t) - uvr


def triangulate(
    rig: Rig,
    left_from_object: np.ndarray,
    frame: np.ndarray,
    point: np.ndarray,
    uvr: np.ndarray,
    sigma_px: np.ndarray,
    count: int,
    iterations: int = 5,
    robust_px: float = 2.0,
) -> np.ndarray:
    """(count, 3) points in the object frame that fit their observations best; NaN where they do not fix the point.

    Linear start (Hartley & Zisserman 12.2, without homogeneous scale), then Gauss-Newton on the reprojection error with Cauchy weights.
    `frame`, `point` (M,) int; `uvr` (M, 3) px with NaN u_right allowed; `sigma_px` (M,).
    """
    pose = left_from_object[frame]
    x = _solve(*_accumulate(_linear_rows(rig, pose, uvr), point, count))
    for _ in range(iterations):
        in_left = np.einsum("mij,mj->mi", pose[:, :3, :3], x[point]) + pose[:, :3, 3]
        residual = project_stereo(rig, in_left) - uvr
        jacobian = np.einsum("mij,mjk->mik", _projection_jacobian(rig, in_left), pose[:, :3, :3])
        scaled = residual / sigma_px[:, None]
        weight = np.where(np.isfinite(scaled), 1 / (1 + (scaled / robust_px) ** 2), 0) / sigma_px[:, None] ** 2
        good = np.isfinite(jacobian).all((1, 2))
        weight[~good] = 0
        rows = (np.where(good[:, None, None], jacobian, 0), np.where(weight > 0, -residual, 0), weight)
        x = x + np.nan_to_num(_solve(*_accumulate(rows, point, count)))
    return x


def _linear_rows(rig: Rig, pose: np.ndarray, uvr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows a.x = b of the two or three projection equations, scaled to be roughly in px for a point at the rig's working distance."""
    r, t = pose[:, :3, :3], pose[:, :3, 3]
    coefficients = np.stack(
        [(uvr[:, 0] - rig.cx) / rig.fx, (uvr[:, 1] - rig.cy) / rig.fy, (uvr[:, 2] - rig.cx) / rig.fx], 1
    )  # (M, 3)
    axis = np.stack([r[:, 0], r[:, 1], r[:, 0]], 1)
    offset = np.stack([t[:, 0], t[:, 1], t[:, 0] - rig.baseline_m], 1)
    a = axis - coefficients[..., None] * r[:, None, 2]
    b = coefficients * t[:, 2:] - offset
    weight = np.isfinite(coefficients).astype(float)
    return np.nan_to_num(a), np.nan_to_num(b), weight


def _accumulate(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], point: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    a, b, w = rows
    normal = np.einsum("mri,mrj,mr->mij", a, a, w).reshape(-1, 9)
    right = np.einsum("mri,mr,mr->mi", a, b, w)
    n = np.stack([np.bincount(point, normal[:, i], count) for i in range(9)], 1).reshape(-1, 3, 3)
    return n, np.stack([np.bincount(point, right[:, i], count) for i in range(3)], 1)


def _solve(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Batched 3x3 solve; NaN where the system is close to singular."""
    size = np.trace(normal, axis1=1, axis2=2)
    ok = (size > 0) & (np.linalg.det(normal) > 1e-12 * size**3)
    out = np.full(right.shape, np.nan)
    if ok.any():
        out[ok] = np.linalg.solve(normal[ok], right[ok][..., None])[..., 0]
    return out


def _projection_jacobian(rig: Rig, x: np.ndarray) -> np.ndarray:
    """(M, 3, 3) derivative of (u, v, u_right) by the point in the left camera."""
    z = np.where(x[:, 2] > 0, x[:, 2], np.nan)
    zero = np.zeros(len(x))
    u = np.stack([rig.fx / z, zero, -rig.fx * x[:, 0] / z**2], 1)
    v = np.stack([zero, rig.fy / z, -rig.fy * x[:, 1] / z**2], 1)
    right = np.stack([rig.fx / z, zero, -rig.fx * (x[:, 0] - rig.baseline_m) / z**2], 1)
    return np.stack([u, v, right], 1)
