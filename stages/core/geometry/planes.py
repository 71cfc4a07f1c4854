"""Planes through points."""

from __future__ import annotations

import numpy as np


def normal_of_three(three: np.ndarray) -> np.ndarray | None:
    """Unit normal (3,) of the plane through three points (3, 3); None where they lie on a line."""
    normal = np.cross(three[1] - three[0], three[2] - three[0])
    length = np.linalg.norm(normal)
    return None if length < 1e-12 else normal / length


def fitted(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normal (3,), of either sign, and middle (3,) of the plane with the least squared distances to the points (N, 3)."""
    middle = points.mean(0)
    return np.linalg.svd(points - middle, full_matrices=False)[2][2], middle
