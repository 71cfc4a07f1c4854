"""Surface normals by differences: the signed distance at the four corners of a small tetrahedron round each point.

Four evaluations where central differences take six; the step acts as a smoothing length, which trilinear grids need (Li et al.,
Neuralangelo, 2023, make the same point for central differences).
"""

from __future__ import annotations

import numpy as np

TETRAHEDRON = np.array([(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)], np.float32)


def tetrahedral_taps(x: np.ndarray, epsilon: float) -> np.ndarray:
    """(N, 3) -> (4 N, 3): x + epsilon k for the four corners k of a tetrahedron, corner by corner."""
    return (x[None] + np.float32(epsilon) * TETRAHEDRON[:, None]).reshape(-1, 3)


def tap_gradient(sdf: np.ndarray, epsilon: float) -> np.ndarray:
    """(4 N,) values at `tetrahedral_taps` -> (N, 3) gradient, exact for linear functions."""
    return (sdf.reshape(4, -1).T @ TETRAHEDRON) / np.float32(4 * epsilon)


def tap_gradient_backward(d_gradient: np.ndarray, epsilon: float) -> np.ndarray:
    """Adjoint of `tap_gradient`: (N, 3) -> (4 N,)."""
    return (TETRAHEDRON @ d_gradient.T).reshape(-1) / np.float32(4 * epsilon)
