"""A calibrated stereo pair as it comes from a file: two pinhole cameras with OpenCV distortion, and right_from_left.

Every reader ends here, so every calibration goes through the same checks: finite numbers, a rotation that is one, a focal length,
principal point and baseline that a stereo camera can have, and the right camera on the right.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.lens_checks import check_fisheye, check_form, check_lens

DISTORTION_LENGTHS = (0, 4, 5, 8, 12, 14)
"""k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]]"""
BASELINE_M = (0.005, 2.0)
FOCAL_WIDTHS = (0.2, 10.0)
"""plausible focal length in image widths: 136 degrees to 5.7 degrees of view"""
MOST_PX = 65535
ROTATION_TOLERANCE = 1e-3
UNITS_M = {"mm": 1e-3, "cm": 1e-2, "inch": 0.0254, "m": 1.0}


@dataclass(frozen=True)
class Camera:
    """One camera: K (3, 3) float64 in px (centres at integers) and its OpenCV distortion coefficients (may be empty)."""

    K: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fisheye: bool = False
    """the equidistant model of OpenCV's fisheye module and Kalibr: distortion is k1 k2 k3 k4 of the angle"""


@dataclass(frozen=True)
class StereoCalibration:
    """Two cameras and right_from_left (4, 4), metres; `size` is (width, height) or None where the file does not say."""

    left: Camera
    right: Camera
    right_from_left: np.ndarray
    size: tuple[int, int] | None
    source: str
    """name of the file, for messages"""
    kind: str = ""
    """whose format the file has, in words"""
    note: str = ""
    """what the file leaves open and somebody should confirm"""

    @property
    def rectified(self) -> bool:
        """Rows already correspond: no distortion, no rotation, a baseline along x and one K but for cx."""
        straight = np.allclose(self.right_from_left[:3, :3], np.eye(3), atol=1e-12) and np.all(
            self.right_from_left[1:3, 3] == 0
        )
        same = np.allclose(np.delete(self.left.K.ravel(), 2), np.delete(self.right.K.ravel(), 2), rtol=0, atol=1e-6)
        straight = straight and not self.left.fisheye and not self.right.fisheye
        return bool(straight and same and not self.left.distortion.any() and not self.right.distortion.any())

    @property
    def baseline_m(self) -> float:
        """Distance of the two camera centres."""
        return float(np.linalg.norm(self.right_from_left[:3, 3]))

    def sized(self, size: tuple[int, int]) -> StereoCalibration:
        """The same with the picture size, where the file did not give one."""
        return self if self.size else dataclasses.replace(self, size=size)

    def save(self, path: Path, notes: dict | None = None) -> None:
        """Write calibration.json as a capture holds it."""

        def model(c):
            return {"model": "fisheye"} if c.fisheye else {}

        def eye(c):
            return {"K": c.K.ravel().tolist(), "distortion": c.distortion.ravel().tolist(), **model(c)}

        width, height = self.size or (0, 0)
        rig = {"R": self.right_from_left[:3, :3].ravel().tolist(), "t_m": self.right_from_left[:3, 3].tolist()}
        data = {
            "rectified": False,
            "image_size": {"width": width, "height": height},
            "left": eye(self.left),
            "right": eye(self.right),
            "right_from_left": rig,
            **(notes or {}),
        }
        Path(path).write_text(json.dumps(data, indent=1, allow_nan=False))


def picture_size(width: object, height: object, source: str) -> tuple[int, int]:
    """Two whole positive numbers. Raises CaptureError."""
    try:
        found = [
            float(v) for v in (width, height) if isinstance(v, (int, float, np.number)) and not isinstance(v, bool)
        ]
    except OverflowError:
        found = []
    if len(found) != 2 or not all(1 <= v <= MOST_PX and v == int(v) for v in found):
        what = f"{str(width)[:40]} x {str(height)[:40]}"
        raise CaptureError(
            f"{source}: the picture size is {what}; expected whole numbers of px, 1 to {MOST_PX}",
            "give the width and height of the pictures",
        )
    return int(found[0]), int(found[1])


def rigid(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(3, 3) and (3,) -> (4, 4)."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.asarray(R, float).reshape(3, 3), np.asarray(t, float).ravel()
    return out


def parallel(
    K_left: np.ndarray, K_right: np.ndarray, baseline_m: float, size: tuple[int, int] | None, source: str
) -> StereoCalibration:
    """An already rectified pair; the two K may differ in cx only."""
    right_from_left = rigid(np.eye(3), np.array([-baseline_m, 0, 0]))
    return StereoCalibration(
        Camera(np.asarray(K_left, float)), Camera(np.asarray(K_right, float)), right_from_left, size, source=source
    )


def check_calibration(c: StereoCalibration) -> None:
    """Raise CaptureError (file, expected, found, remedy) for anything a real stereo camera cannot have; needs `size`."""
    for side, camera in (("left", c.left), ("right", c.right)):
        check_camera(c.source, side, camera, c.size or (0, 0))
    _check_finite(c.source, "right_from_left", c.right_from_left)
    _check_rig(c)


def _check_finite(source: str, what: str, values: np.ndarray) -> None:
    if not np.all(np.isfinite(values)):
        count = np.count_nonzero(~np.isfinite(values))
        raise CaptureError(
            f"{source}: {what} holds {count} value(s) that are not numbers (NaN or infinite)",
            "calibrate again, or restore the file; `twin calibrate` makes one from chessboard pairs",
        )


def check_camera(source: str, side: str, camera: Camera, size: tuple[int, int]) -> None:
    """Raise CaptureError for a lens that no camera has, for pictures of (width, height)."""
    _check_finite(source, f"{side} K", camera.K)
    _check_finite(source, f"{side} distortion", camera.distortion)
    width, height = size
    K = camera.K
    check_form(source, side, K, height)
    low, high = FOCAL_WIDTHS[0] * width, FOCAL_WIDTHS[1] * width
    if not (low <= K[0, 0] <= high and low <= K[1, 1] <= high):
        raise CaptureError(
            f"{source}: {side} focal length is {K[0, 0]:.6g} x {K[1, 1]:.6g} px; "
            f"expected {low:.0f} to {high:.0f} px for {width} px wide pictures",
            "the focal length must be in pixels of these pictures: not in millimetres, not for another size",
        )
    if abs(K[0, 0] / K[1, 1] - 1) > 0.2:
        raise CaptureError(
            f"{source}: {side} fx and fy differ by more than 20 % ({K[0, 0]:.1f}, {K[1, 1]:.1f} px)",
            "check the order of the nine numbers of K (row by row: fx 0 cx 0 fy cy 0 0 1)",
        )
    for axis, centre, length in (("cx", K[0, 2], width), ("cy", K[1, 2], height)):
        if not 0 <= centre <= length:
            raise CaptureError(
                f"{source}: {side} {axis} is {centre:.1f} px; expected it inside the picture, 0 to {length} px",
                "check that K is stored row by row and belongs to pictures of this size",
            )
    if camera.fisheye:
        check_fisheye(source, side, K, camera.distortion, size=(width, height))
        return
    if camera.distortion.size not in DISTORTION_LENGTHS:
        raise CaptureError(
            f"{source}: {side} distortion has {camera.distortion.size} coefficients; expected one of {DISTORTION_LENGTHS}",
            "use OpenCV's order k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tx ty; "
            'a fisheye has "model": "fisheye" and k1 k2 k3 k4',
        )
    check_lens(source, side, K, camera.distortion, size=(width, height))


def _check_rig(c: StereoCalibration) -> None:
    R, t = c.right_from_left[:3, :3], c.right_from_left[:3, 3]
    error = np.abs(R @ R.T - np.eye(3)).max()
    if error > ROTATION_TOLERANCE or np.linalg.det(R) < 0:
        raise CaptureError(
            f"{c.source}: R is not a rotation (|R R^T - 1| = {error:.2g}, determinant {np.linalg.det(R):.4f})",
            "store R as nine numbers row by row, unrounded; a Rodrigues vector is not accepted",
        )
    angle = np.degrees(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1)))
    if angle > 45:
        raise CaptureError(
            f"{c.source}: the cameras are turned {angle:.0f} degrees against each other; expected less than 45",
            "check R: right_from_left, row by row",
        )
    _check_baseline(c)
    if abs(t[0]) < 2 * np.hypot(t[1], t[2]):
        raise CaptureError(
            f"{c.source}: the baseline is not along x (t = {np.round(t, 4).tolist()} m)",
            "a horizontal rig is needed (turn pictures and calibration of a vertical one by 90 degrees)",
        )
    if t[0] > 0:
        raise CaptureError(
            f"{c.source}: t_x of right_from_left is {t[0]:+.4f} m; expected a negative number (right camera on the right)",
            "the file stores the inverse transform, or the cameras are swapped: swap them, or invert R and t",
        )


def _check_baseline(c: StereoCalibration) -> None:
    low, high = BASELINE_M
    b = c.baseline_m
    if low <= b <= high:
        return
    slip = next(((unit, factor) for unit, factor in UNITS_M.items() if low <= b * factor <= high), None)
    remedy = "check its unit"
    if slip:
        unit, factor = slip
        remedy = f"it looks like {unit}: for OpenCV files set rectify.calibration_unit={unit}, else multiply it by {factor:g} in the file"
    raise CaptureError(f"{c.source}: the baseline is {b:.6g} m; expected {low} to {high:g} m", remedy)
