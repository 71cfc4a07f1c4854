"""Pictures with known cameras, as every reader hands them over and every writer takes them: one convention, whatever the file's was.

World units are those of the file. OpenCV axes, pixel centres at integers (a corner-origin principal point lies 0.5 px higher and is moved
at the border of its format). Transforms are `world_from_camera`, 4x4 float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.core.errors import CaptureError

LensModel = Literal["none", "opencv", "fisheye"]
RIGID_TOLERANCE = 1e-3
"""a rotation may miss an orthonormal matrix by so much: files of four digits do"""
LARGEST = 1e9
"""of any number in a camera file: beyond, squares lose all digits"""
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class PosedCamera:
    """One picture and its camera. K (3, 3) px holds for `width` x `height`, which 0 = that of the picture file."""

    name: str
    picture: Path | None
    K: np.ndarray
    world_from_camera: np.ndarray
    width: int = 0
    height: int = 0
    lens: LensModel = "none"
    distortion: tuple[float, ...] = ()
    """opencv: k1 k2 p1 p2 [k3 k4 k5 k6]; fisheye: k1 k2 k3 k4"""
    mask: Path | None = None
    depth: Path | None = None
    bounds: tuple[float, float] | None = None
    """nearest and farthest depth, world units, where the file says"""

    @property
    def camera_from_world(self) -> np.ndarray:
        """(4, 4)."""
        R, t = self.world_from_camera[:3, :3], self.world_from_camera[:3, 3]
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = R.T, -R.T @ t
        return out

    @property
    def projection(self) -> np.ndarray:
        """(3, 4) world -> pixels, without distortion."""
        return self.K @ self.camera_from_world[:3]

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) world -> (N, 2) px, without distortion."""
        x = points @ self.projection[:, :3].T + self.projection[:, 3]
        return x[:, :2] / x[:, 2:]


@dataclass(frozen=True)
class PosedSet:
    """All cameras of a folder. `sphere`: centre and radius round the object where the format says, world units."""

    format: str
    source: Path
    cameras: tuple[PosedCamera, ...]
    points: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    sphere: tuple[np.ndarray, float] | None = None
    notes: tuple[str, ...] = ()
    depth_unit: float = 1.0
    """world units per level of a depth picture"""
    extra: dict[str, Any] = field(default_factory=dict)
    """what the format says beside, for its writer"""


def pinhole(fx: float, fy: float, cx: float, cy: float, skew: float = 0.0) -> np.ndarray:
    """(3, 3) float64."""
    return np.array([[fx, skew, cx], [0, fy, cy], [0, 0, 1]], float)


def require_rigid(matrix: np.ndarray, where: str) -> np.ndarray:
    """The (4, 4) matrix as float64. Raises CaptureError where it is no rotation and translation; `where` names file and frame."""
    m = np.asarray(matrix, float)
    if m.shape not in ((4, 4), (3, 4)) or not np.isfinite(m).all() or np.abs(m).max() > LARGEST:
        raise CaptureError(
            f"{where}: the camera's matrix is {m.shape} with values that cannot be used",
            "give 4x4 (or 3x4) finite numbers: rotation and position of the camera",
        )
    if m.shape == (3, 4):
        m = np.vstack([m, [0, 0, 0, 1]])
    if np.abs(m[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise CaptureError(
            f"{where}: the last row of the camera's matrix is {m[3].tolist()}, not 0 0 0 1",
            "write the matrix row by row (it may be transposed)",
        )
    R = m[:3, :3]
    off = float(np.abs(R @ R.T - np.eye(3)).max())
    if off > RIGID_TOLERANCE:
        scale = float(np.cbrt(abs(np.linalg.det(R))))
        hint = f"; it scales by {scale:.4g}: divide the 3x3 part by it" if abs(scale - 1) > 1e-3 else ""
        raise CaptureError(
            f"{where}: the camera's rotation is not one (R R^T misses the identity by {off:.2g})",
            f"give a rotation matrix{hint}",
        )
    if np.linalg.det(R) < 0:
        raise CaptureError(
            f"{where}: the camera's rotation mirrors (determinant {np.linalg.det(R):.3f})",
            "one axis has the wrong sign; convert the axes without mirroring",
        )
    return m


def require_camera_matrix(K: np.ndarray, size: tuple[int, int], where: str) -> np.ndarray:
    """K (3, 3) float64. Raises CaptureError for a focal length or principal point that cannot be of a picture of `size` (w, h; 0 = any)."""
    K = np.asarray(K, float)
    if K.shape != (3, 3) or not np.isfinite(K).all() or np.abs(K).max() > LARGEST:
        raise CaptureError(f"{where}: the camera matrix K is {K.shape} or not finite", "give fx, fy, cx, cy in pixels")
    if K[0, 0] <= 0 or K[1, 1] <= 0 or abs(K[1, 0]) > 1e-6 * K[0, 0] or np.abs(K[2] - [0, 0, 1]).max() > 1e-9:
        raise CaptureError(
            f"{where}: K is {K.round(3).tolist()}, not an upper triangle with positive focal lengths",
            "give fx, fy, cx, cy in pixels; a transposed K is a common slip",
        )
    w, h = size
    if w and h and not (0.02 * w < K[0, 0] < 500 * w and -w < K[0, 2] < 2 * w and -h < K[1, 2] < 2 * h):
        raise CaptureError(
            f"{where}: fx={K[0, 0]:.4g} px, cx={K[0, 2]:.4g}, cy={K[1, 2]:.4g} do not belong to a picture of {w}x{h}",
            "K must be in pixels of the picture as it lies there",
        )
    return K


def from_opengl(world_from_opengl: np.ndarray) -> np.ndarray:
    """world_from_camera with OpenCV axes (y down, z forward) of one with OpenGL axes (y up, z backward); its own inverse."""
    return np.asarray(world_from_opengl, float) @ OPENGL_FROM_OPENCV


def decomposed(P: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(K with K[2, 2] = 1, world_from_camera) of a projection (3, 4), any scale and sign. Raises CaptureError where it is singular."""
    from scipy.linalg import rq

    P = np.asarray(P, float)
    if (
        P.shape != (3, 4)
        or not np.isfinite(P).all()
        or abs(np.linalg.det(P[:, :3])) < 1e-12 * max(np.abs(P[:, :3]).max(), 1e-30) ** 3
    ):
        raise CaptureError(f"{where}: the projection is no camera (singular or not finite)", "give P = K [R | t], 3x4")
    P = P * np.sign(np.linalg.det(P[:, :3]))
    K, R = rq(P[:, :3])
    flip = np.diag(np.sign(np.diag(K)))
    K, R = K @ flip, flip @ R
    t = np.linalg.solve(K, P[:, 3])
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = R.T, -R.T @ t
    return K / K[2, 2], out


def nearest_rotation(R: np.ndarray) -> np.ndarray:
    """The orthonormal matrix nearest to R (3, 3)."""
    U, _, Vt = np.linalg.svd(R)
    return U @ Vt


def common_point(poses: np.ndarray) -> np.ndarray | None:
    """(3,) nearest to the axes of all cameras (N, 4, 4); None where they are too parallel to meet."""
    eyes, axes = poses[:, :3, 3], poses[:, :3, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    A = across.sum(0)
    if np.linalg.eigvalsh(A)[0] < 0.05 * len(poses):
        return None
    return np.linalg.solve(A, (across @ eyes[:, :, None]).sum(0)[:, 0])
