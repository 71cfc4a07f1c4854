"""Rays through the cube that a field fills: where they cross it, and how a batch of them is cut."""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.core.field.hash_grid import KERNEL, ONE, ZERO


@njit(**KERNEL)
def crossing(eye, ray):
    """(near, far) of the unit cube along a ray; near > far = missed."""
    near, far = ZERO, np.float32(1e9)
    for axis in range(3):
        if abs(ray[axis]) < np.float32(1e-9):
            if eye[axis] < ZERO or eye[axis] > ONE:
                return ONE, ZERO
            continue
        a, b = -eye[axis] / ray[axis], (ONE - eye[axis]) / ray[axis]
        near, far = max(near, min(a, b)), min(far, max(a, b))
    return near, far


def parts_of(count: int, parts: int) -> list[tuple[int, int]]:
    """(first, past the last) of so many equal parts of a batch."""
    return [(count * k // parts, count * (k + 1) // parts) for k in range(parts)]
