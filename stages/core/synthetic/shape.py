"""The built-in object: a flask with a shoulder, a cap and a handle, about 13 cm tall, meshed from a signed distance function.

Object frame: metres, x right, y DOWN (the flask stands on y = height / 2), z towards the first camera's back.
"""

from __future__ import annotations

import numpy as np

HALF_HEIGHT_M = 0.062


def object_mesh(voxel_m: float = 0.0008) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 metres and faces (F, 3) int32, outward orientation, watertight."""
    from skimage.measure import marching_cubes

    half = np.array([0.062, 0.068, 0.045])
    axes = [np.arange(-h, h + voxel_m, voxel_m) for h in half]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    vertices, faces, _, _ = marching_cubes(object_sdf(grid), 0.0, spacing=(voxel_m,) * 3)
    return vertices + np.array([a[0] for a in axes]), faces.astype(np.int32)


def object_sdf(x: np.ndarray) -> np.ndarray:
    """(..., 3) points -> approximate signed distance in metres, negative inside."""
    body = rounded_box(x - [0, 0.012, 0], (0.034, 0.050, 0.021), 0.012)
    shoulder = ellipsoid(x - [0, -0.034, 0], (0.027, 0.018, 0.019))
    cap = cylinder(x - [0, -0.052, 0], 0.0125, 0.0105, 0.002)
    handle = torus(x - [0.036, 0.004, 0], 0.017, 0.0058)
    return smooth_min(smooth_min(smooth_min(body, shoulder, 0.010), cap, 0.003), handle, 0.004)


def rounded_box(x: np.ndarray, half: tuple[float, float, float], radius: float) -> np.ndarray:
    """Box of half sizes `half` whose edges are rounded by `radius`."""
    q = np.abs(x) - (np.array(half) - radius)
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0) - radius


def ellipsoid(x: np.ndarray, radii: tuple[float, float, float]) -> np.ndarray:
    """Approximate distance (first order)."""
    r = np.array(radii)
    k0, k1 = np.linalg.norm(x / r, axis=-1), np.linalg.norm(x / r**2, axis=-1)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-9)


def cylinder(x: np.ndarray, radius: float, half_height: float, rounding: float) -> np.ndarray:
    """Upright (along y) with rounded rims."""
    q = np.stack([np.hypot(x[..., 0], x[..., 2]) - radius + rounding, np.abs(x[..., 1]) - half_height + rounding], -1)
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0) - rounding


def torus(x: np.ndarray, major: float, minor: float) -> np.ndarray:
    """Round the z axis."""
    return np.hypot(np.hypot(x[..., 0], x[..., 1]) - major, x[..., 2]) - minor


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Union whose joint is rounded over about `k` metres."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return b + (a - b) * h - k * h * (1 - h)
