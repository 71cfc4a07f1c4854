"""From a calibration to two views whose rows correspond: rotations, the common K, and where each output pixel lies in the raw picture.

Rotations by Bouguet's method (cv2.stereoRectify: half of the rotation to each side, so that both are resampled least). The focal length
is the cameras' own, so that the middle of the picture is sampled 1:1 and nothing of the object's detail is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.object_prompt import edges
from stages.core.stereo_calibration import Camera, StereoCalibration
from stages.rectify.fisheye import fisheye_maps, undistorted_fisheye
from stages.rectify.row_field import RowField
from stages.rectify.row_offset import RightChange

MAX_GROWTH = 1.15
"""output size over raw size at most: barrel distortion unfolds to a larger picture whose far corners are stretched, not sharper"""
UNDISTORT = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 60, 1e-10)


@dataclass(frozen=True)
class View:
    """One camera and what takes its undistorted rays to the common rectified ones: a rotation, for a corrected right camera (3, 3)
    with a small homography in it, and perhaps a shift of rows."""

    camera: Camera
    rectified_from_raw: np.ndarray
    rows: RowField | None = None

    def points(self, uv_raw: np.ndarray, K: np.ndarray) -> np.ndarray:
        """(N, 2) raw px -> (N, 2) rectified px."""
        if len(uv_raw) == 0:
            return np.zeros((0, 2))
        xy = undistorted(np.asarray(uv_raw, np.float64), self.camera, self.rectified_from_raw, np.eye(3))
        if self.rows is not None:
            xy = self.rows.moved(xy)
        return xy * [K[0, 0], K[1, 1]] + K[:2, 2]

    def maps(self, rig: Rig) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) float32 raw x and y of each rectified pixel."""
        size = (rig.width, rig.height)
        if self.camera.fisheye:
            x, y = fisheye_maps(self.camera, self.rectified_from_raw, rig.K, size)
        else:
            lens = (self.camera.K, _coefficients(self.camera))
            x, y = cv2.initUndistortRectifyMap(*lens, self.rectified_from_raw, rig.K, size, cv2.CV_32FC1)
        if self.rows is None:
            return x, y
        u, v = np.meshgrid(np.arange(rig.width, dtype=np.float32), np.arange(rig.height, dtype=np.float32))
        v += _row_error_px(self.rows, rig)
        return tuple(cv2.remap(m, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for m in (x, y))  # type: ignore[return-value]


@dataclass(frozen=True)
class Geometry:
    """Both views, the rig of the rectified pair at full size, and the scale to the size written."""

    left: View
    right: View
    rig: Rig
    size: tuple[int, int]
    """of the raw pictures"""
    keep_left: bool
    """the left picture is already as it should be"""
    keep_right: bool

    def with_right(self, change: RightChange) -> Geometry:
        """With the right view corrected."""
        return replace(
            self,
            right=View(self.right.camera, change.turn @ self.right.rectified_from_raw, change.rows),
            keep_right=False,
        )


def rectifying(c: StereoCalibration) -> Geometry:
    """The geometry as the calibration states it."""
    if c.size is None:
        raise ValueError("the calibration needs the picture size: use sized()")
    width, height = c.size
    if c.rectified:
        K = c.left.K
        rig = Rig(width, height, *(float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))), c.baseline_m)
        same = bool(np.allclose(c.right.K, K, rtol=0, atol=1e-6))
        return Geometry(View(c.left, np.eye(3)), View(c.right, np.eye(3)), rig, c.size, keep_left=True, keep_right=same)
    R, t = c.right_from_left[:3, :3], c.right_from_left[:3, 3:].copy()
    # the rotations stand on R and t alone; a fisheye's coefficients mean nothing to this function
    eyes = (c.left.K, _pinhole(c.left), c.right.K, _pinhole(c.right))
    found = cv2.stereoRectify(*eyes, c.size, R, t, flags=cv2.CALIB_ZERO_DISPARITY, alpha=0)
    left, right = View(c.left, found[0]), View(c.right, found[1])
    return Geometry(left, right, _canvas(left, right, c), c.size, keep_left=False, keep_right=False)


def _row_error_px(field: RowField, rig: Rig) -> np.ndarray:
    """(H, W) float32 of the rectified picture; row by row, so that the cubic's terms never fill memory."""
    out = np.empty((rig.height, rig.width), np.float32)
    x = (np.arange(rig.width) - rig.cx) / rig.fx
    for v in range(rig.height):
        out[v] = rig.fy * field(np.stack([x, np.full(rig.width, (v - rig.cy) / rig.fy)], 1))
    return out


def undistorted(uv: np.ndarray, camera: Camera, R: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N, 2) raw px -> (N, 2) px of K after R; iterated to convergence (the default of five rounds is not enough for wide lenses)."""
    if camera.fisheye:
        return undistorted_fisheye(uv, camera, R, K)
    points = np.ascontiguousarray(uv)[:, None]
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4; OpenCV 5 has the criteria in undistortPoints
        return cv2.undistortPointsIter(points, camera.K, _coefficients(camera), R, K, UNDISTORT)[:, 0]
    return cv2.undistortPoints(points, camera.K, _coefficients(camera), R=R, P=K, criteria=UNDISTORT)[:, 0]


def _pinhole(camera: Camera) -> np.ndarray | None:
    return None if camera.fisheye else _coefficients(camera)


def _coefficients(camera: Camera) -> np.ndarray | None:
    return camera.distortion if camera.distortion.size else None


def _canvas(left: View, right: View, c: StereoCalibration) -> Rig:
    """The rectified picture: the left view's largest full rectangle, widened where the right view would lose more than 5 % of its width."""
    f = float(np.mean([c.left.K[0, 0], c.left.K[1, 1], c.right.K[0, 0], c.right.K[1, 1]]))
    K = np.diag([f, f, 1.0])
    a, b = inner_box(left, K, c.size), inner_box(right, K, c.size)
    if (
        c.left.fisheye or c.right.fisheye
    ):  # the edges may look sideways: what is stretched most is cut evenly round the axis
        reach = np.tile(np.array(c.size) * MAX_GROWTH / 2, 2) * [-1, -1, 1, 1]
        a, b = (np.r_[np.maximum(box[:2], reach[:2]), np.minimum(box[2:], reach[2:])] for box in (a, b))
    if a[0] - b[0] > 0.05 * c.size[0]:
        a[0] = b[0]
    if b[2] - a[2] > 0.05 * c.size[0]:
        a[2] = b[2]
    limit = np.array(c.size) * MAX_GROWTH
    middle = (a[:2] + a[2:]) / 2
    half = np.minimum(a[2:] - a[:2], limit) / 2
    low, high = np.ceil(middle - half), np.floor(middle + half)
    width, height = (high - low + 1).astype(int)
    return Rig(int(width), int(height), f, f, cx=float(-low[0]), cy=float(-low[1]), baseline_m=c.baseline_m)


def inner_box(view: View, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(x0, y0, x1, y1) rectified px of the rectangle whose sides stay inside the picture's four warped edges (as OpenCV's alpha = 0)."""
    left, top, right, bottom = (view.points(e, K) for e in edges((0, 0, size[0] - 1, size[1] - 1)))
    return np.array([left[:, 0].max(), top[:, 1].max(), right[:, 0].min(), bottom[:, 1].min()])
