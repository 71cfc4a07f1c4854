"""Rigid motions as 4x4 float64 matrices `b_from_a`."""

from __future__ import annotations

import numpy as np


def inverse(b_from_a: np.ndarray) -> np.ndarray:
    """(..., 4, 4) -> (..., 4, 4) exact inverse of a rigid motion."""
    r = np.swapaxes(b_from_a[..., :3, :3], -1, -2)
    out = np.zeros_like(b_from_a)
    out[..., :3, :3] = r
    out[..., :3, 3] = -np.einsum("...ij,...j->...i", r, b_from_a[..., :3, 3])
    out[..., 3, 3] = 1
    return out


def transform(b_from_a: np.ndarray, x_a: np.ndarray) -> np.ndarray:
    """(4, 4) and (..., 3) -> (..., 3)."""
    return x_a @ b_from_a[:3, :3].T + b_from_a[:3, 3]


def exp_se3(xi: np.ndarray) -> np.ndarray:
    """(6,) (rotation vector rad, translation m) -> (4, 4); the translation is applied after the rotation (not the SE(3) exponential)."""
    import cv2

    out = np.eye(4)
    out[:3, :3] = cv2.Rodrigues(np.asarray(xi[:3], float))[0]
    out[:3, 3] = xi[3:]
    return out


def part_of(b_from_a: np.ndarray, share: float) -> np.ndarray:
    """(4, 4): the steady motion that does `share` of b_from_a, whose turn is below 180 degrees; 2 = twice as much."""
    from scipy.linalg import expm, logm

    return expm(share * np.real(logm(b_from_a)))


def rotation_angle(b_from_a: np.ndarray) -> float:
    """Angle of the rotation part, radians."""
    return float(np.arccos(np.clip((np.trace(b_from_a[:3, :3]) - 1) / 2, -1, 1)))


def seen_apart(gap: np.ndarray, middle: np.ndarray) -> float:
    """How far a motion (4, 4) moves what a camera sees at `middle` (3,): radians, the larger of its turn and of the shift by distance."""
    shift = np.linalg.norm(transform(gap, middle) - middle) / np.linalg.norm(middle)
    return float(max(rotation_angle(gap), shift))


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion w x y z of a rotation (3, 3), w not negative."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z]) * (1 if w >= 0 else -1)


def fit_rigid(x_a: np.ndarray, x_b: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """b_from_a (4, 4) minimising sum w |x_b - b_from_a x_a|^2 for (N, 3) points (Umeyama 1991 without scale)."""
    w = np.ones(len(x_a)) if weight is None else np.asarray(weight, float)
    ca, cb = np.average(x_a, 0, w), np.average(x_b, 0, w)
    u, _, vt = np.linalg.svd(((x_a - ca) * w[:, None]).T @ (x_b - cb))
    r = vt.T @ np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = r, cb - r @ ca
    return out
