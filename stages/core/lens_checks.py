"""What one camera of a calibration must be like: K of the pinhole form, and a distortion that a lens can have over the whole picture."""

from __future__ import annotations

import cv2
import numpy as np

from stages.core.errors import CaptureError

SKEW_PX = 0.1
"""shift by skew at the upper edge that still goes unseen; the model here has none"""
STRETCH = 3.0
"""undistorted over distorted radius inside the middle of the picture; wide lenses reach 2 at the edge of a 120 degree picture"""
MIDDLE = 0.6
"""share of the half diagonal where every lens model must hold; further out polynomials may fold back"""
EXACT_PX = 0.5
_ROWS = "store K row by row: fx 0 cx 0 fy cy 0 0 1"


def check_form(source: str, side: str, K: np.ndarray, height: int) -> None:
    """Raise CaptureError unless K is [fx 0 cx; 0 fy cy; 0 0 1]."""
    if np.any(np.abs(K[2, :2]) > 1e-6):
        turned = np.abs(K[0, 2]) < 1e-6 and np.abs(K[1, 2]) < 1e-6
        raise CaptureError(
            f"{source}: the last row of the {side} K is {_row(K[2])}; expected 0 0 1",
            "K is stored transposed, as MATLAB does: transpose it" if turned else _ROWS,
        )
    if abs(K[2, 2] - 1) > 1e-6:
        raise CaptureError(
            f"{source}: the last row of the {side} K is {_row(K[2])}; expected 0 0 1",
            f"divide K by {K[2, 2]:g}" if K[2, 2] > 0 else "calibrate again, or restore the file",
        )
    if abs(K[1, 0]) > 1e-6:
        raise CaptureError(f"{source}: the second row of the {side} K is {_row(K[1])}; expected 0 fy cy", _ROWS)
    if abs(K[0, 1] / max(K[1, 1], 1e-9)) * height / 2 > SKEW_PX:
        raise CaptureError(
            f"{source}: the {side} K has a skew of {K[0, 1]:g} px; cameras with skew are not supported",
            "calibrate again with the skew fixed at 0 (OpenCV does so)",
        )


def check_lens(source: str, side: str, K: np.ndarray, distortion: np.ndarray, size: tuple[int, int]) -> None:
    """Raise CaptureError where the distortion moves the middle of the picture as no lens does, or cannot be undone there."""
    if not distortion.any():
        return
    uv = _middle(K, size)
    ideal = (uv - K[:2, 2]) / [K[0, 0], K[1, 1]]
    radius = np.linalg.norm(ideal, axis=1)
    xy = cv2.undistortPoints(uv[:, None], K, distortion)[:, 0]
    stretch = np.linalg.norm(xy, axis=1) / radius
    back = cv2.projectPoints(np.c_[xy, np.ones(len(xy))][:, None], np.zeros(3), np.zeros(3), K, distortion)[0][:, 0]
    off = np.linalg.norm(back - uv, axis=1) if np.all(np.isfinite(back)) else np.full(len(uv), np.inf)
    possible = np.all(np.isfinite(stretch)) and 1 / STRETCH < stretch.min() and stretch.max() < STRETCH
    if not possible or np.quantile(off, 0.9) > _tolerance(size):
        raise CaptureError(
            f"{source}: the {side} distortion {_row(distortion)} moves the middle of the picture as no lens does",
            "check the coefficients and their order (k1 k2 p1 p2 k3 ..); fisheye coefficients are another model",
        )


def check_fisheye(source: str, side: str, K: np.ndarray, distortion: np.ndarray, size: tuple[int, int]) -> None:
    """Raise CaptureError unless k1 k2 k3 k4 let the radius grow with the angle over the middle of the picture."""
    if distortion.size not in (0, 4):
        raise CaptureError(
            f"{source}: the {side} fisheye has {distortion.size} coefficients; expected 4",
            "use k1 k2 k3 k4 of the angle",
        )
    k = distortion if distortion.size else np.zeros(4)
    t = np.linspace(0, np.pi / 2, 500)
    s = t * t
    radius = t * (1 + s * (k[0] + s * (k[1] + s * (k[2] + s * k[3]))))
    needed = MIDDLE * np.hypot(*size) / 2 / K[0, 0]
    grown = int(np.argmax(radius >= min(needed, 1.2)))
    if grown == 0 or np.any(np.diff(radius[: grown + 1]) <= 0):
        raise CaptureError(
            f"{source}: the {side} fisheye distortion {_row(distortion)} bends the middle of the picture as no lens does",
            "check the coefficients k1 k2 k3 k4; OpenCV's pinhole coefficients are another model",
        )


def _tolerance(size: tuple[int, int]) -> float:
    """px; undistortPoints stops after a few rounds, so the way back is not exact for strong lenses."""
    return max(EXACT_PX, 0.01 * max(size))


def _middle(K: np.ndarray, size: tuple[int, int], samples: int = 9) -> np.ndarray:
    """(N, 2) px inside `MIDDLE` of the half diagonal round the principal point, which itself is left out."""
    half = MIDDLE * np.hypot(*size) / 2
    s = np.linspace(-1, 1, samples)
    u, v = np.meshgrid(s, s)
    inside = (np.hypot(u, v) <= 1) & (np.hypot(u, v) > 0)
    return np.stack([u[inside], v[inside]], 1) * half + K[:2, 2]


def _row(values: np.ndarray) -> str:
    return " ".join(f"{v:g}" for v in np.asarray(values).ravel()[:14])
