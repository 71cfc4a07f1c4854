"""The plane that an object stands on, found among the points of the scene round it."""

from __future__ import annotations

import numpy as np

from stages.core.geometry.planes import fitted, normal_of_three

MIN_SUPPORT_POINTS = 60
"""fewer points off the object than this do not make a plane"""
SUPPORT_SHARE = 0.35
"""share of the points near the object but off it that the plane must hold"""
THICKNESS = 0.02
"""a point belongs to the plane within this share of the object's size"""
TRIALS = 400
"""three-point samples; at a share of 0.35 the chance to miss the plane is below 1e-7"""


def support_plane(own: np.ndarray, around: np.ndarray, seed: int) -> np.ndarray | None:
    """(4,) plane n.x + d = 0 that the object stands on, n unit and pointing away from the object (down); None without a clear one.

    RANSAC over the points near the object (Fischler & Bolles 1981), then least squares; the object must lie on one side of it
    and touch it.
    """
    low, high = np.percentile(own, (3, 97), axis=0)
    centre, size = (low + high) / 2, float(np.linalg.norm(high - low))
    near = around[np.linalg.norm(around - centre, axis=1) < 1.5 * size]
    if len(near) < MIN_SUPPORT_POINTS:
        return None
    best = _ransac_plane(near, THICKNESS * size, np.random.default_rng(seed))
    if best is None or best.mean() < SUPPORT_SHARE:
        return None
    normal, middle = fitted(near[best])
    height = (own - middle) @ normal
    if np.median(height) > 0:
        normal, height = -normal, -height
    # now the object's heights are negative: down is positive
    through = (height > 2 * THICKNESS * size).mean()
    gap = -np.percentile(height, 98)
    if through > 0.05 or gap > 0.35 * size:
        return None
    return np.r_[normal, -normal @ middle]


def _ransac_plane(points: np.ndarray, thickness: float, rng: np.random.Generator) -> np.ndarray | None:
    best = None
    for _ in range(TRIALS):
        three = points[rng.choice(len(points), 3, replace=False)]
        normal = normal_of_three(three)
        if normal is None:
            continue
        hit = np.abs((points - three[0]) @ normal) < thickness
        if best is None or hit.sum() > best.sum():
            best = hit
    return best
