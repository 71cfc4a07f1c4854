"""Which focal length and which zero of disparity the pictures themselves ask for.

Points measured by the two eyes at one moment must fit the picture of another. With the principal point kept, x and y of a point do not
depend on the focal length f, and z grows with it: a wrong f stretches the scene along the axis of sight, and it fits no other view. Neither
does a scene whose disparities are all off by as much: of a right camera that is turned sideways against its calibration, or of pictures cut
at other places, which no row shows. The baseline only scales everything: no picture tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.rectify.geometry import Geometry
from stages.rectify.matches import Features, match_features

FACTORS = np.array([0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0])
OFFSETS = np.array([k for k in range(-8, 9) if k]) * 0.0075
"""of the width"""
MOST_POINTS = 400
FINER = (0.88, 0.94, 1.06, 1.13)
LEAST_POINTS = 25
STILL_PX = 1.5
"""matches that move less belong to a ground that stands still with the camera, and tell nothing"""
LEAST_MOTION = 0.01
"""of the width; less, and every focal length fits"""
CUT_PX = 3.0
BETTER = 0.75
"""error with another focal length over that with the given one: below, the given one is doubted"""


@dataclass(frozen=True)
class FocalFit:
    """Factors on the given focal length and how badly each fits (mean squared error in px^2, cut at CUT_PX^2), over so many views."""

    factors: np.ndarray
    errors: np.ndarray
    views: int
    offsets_px: np.ndarray
    """added to every disparity, the focal length as given"""
    offset_errors: np.ndarray

    @property
    def best(self) -> float:
        """The factor that fits best, 1 where the given one is as good."""
        k = int(np.argmin(self.errors))
        given = float(self.errors[np.argmin(np.abs(self.factors - 1))])
        return (
            float(self.factors[k])
            if self.errors[k] < BETTER * given and self.errors[k] <= self.offset_errors.min()
            else 1.0
        )

    @property
    def offset_px(self) -> float:
        """What must be added to every disparity for the best fit, 0 where the given ones are as good or another focal length is better."""
        k, given = int(np.argmin(self.offset_errors)), float(self.errors[np.argmin(np.abs(self.factors - 1))])
        better = self.offset_errors[k] < BETTER * given and self.offset_errors[k] < self.errors.min()
        return float(self.offsets_px[k]) if better else 0.0


def focal_fit(views: Sequence[tuple[Features, Features, Features]], geometry: Geometry) -> FocalFit | None:
    """`views`: features of a left and a right raw picture and of a later left one. None where they do not move or match enough."""
    points = [p for v in views if (p := _common(v, geometry)) is not None]
    if not points:
        return None
    factors = [float(s) for s in FACTORS]
    errors = [_mean_error(points, geometry, s) for s in factors]
    best = factors[int(np.argmin(errors))]
    if best != 1.0:
        finer = [best * s for s in FINER]
        factors, errors = factors + finer, errors + [_mean_error(points, geometry, s) for s in finer]
    offsets = OFFSETS * geometry.rig.width
    shifted = [_mean_error([(a, d + o, b) for a, d, b in points], geometry, 1.0) for o in offsets]
    return FocalFit(np.array(factors), np.array(errors), len(points), offsets, offset_errors=np.array(shifted))


def offset_words(fit: FocalFit | None) -> str:
    """A warning where the pictures ask for other disparities throughout, else empty."""
    if fit is None or fit.offset_px == 0.0 or fit.views < 2:
        return ""
    error, given = fit.offset_errors.min() ** 0.5, fit.errors[np.argmin(np.abs(fit.factors - 1))] ** 0.5
    return (
        f"the pictures fit clearly better with all disparities some {fit.offset_px:+.0f} px larger (error {error:.2f} instead of "
        f"{given:.2f} px over {fit.views} views): a camera is turned sideways against its calibration, R is transposed, or the "
        "pictures were cut at other places. Distances would be wrong"
    )


def focal_words(fit: FocalFit | None, focal_px: float) -> str:
    """A warning where the pictures ask for another focal length, else empty."""
    if fit is None or fit.best == 1.0 or fit.views < 2:
        return ""
    error, given = fit.errors.min() ** 0.5, fit.errors[np.argmin(np.abs(fit.factors - 1))] ** 0.5
    return (
        f"the pictures fit a focal length of about {fit.best * focal_px:.0f} px, {fit.best:.2g} times the calibration's "
        f"{focal_px:.0f} px, clearly better (error {error:.2f} instead of {given:.2f} px over {fit.views} views): is the calibration "
        "of pictures of another size, zoom or camera? Distances would be wrong by that much"
    )


def _mean_error(points: list[tuple[np.ndarray, np.ndarray, np.ndarray]], geometry: Geometry, factor: float) -> float:
    return float(np.mean([_error(*p, geometry, factor) for p in points]))


def _common(
    views: tuple[Features, Features, Features], geometry: Geometry
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Rectified (N, 2) left px, (N,) disparity px and (N, 2) px in the later left picture of points seen in all three."""
    K = geometry.rig.K
    left_eye, right_eye, later = views
    stereo, motion = match_features(left_eye, right_eye), match_features(left_eye, later)
    where = {tuple(uv): k for k, uv in enumerate(motion[:, :2])}
    both = [(i, where[tuple(uv)]) for i, uv in enumerate(stereo[:, :2]) if tuple(uv) in where]
    if len(both) < LEAST_POINTS:
        return None
    i, j = np.array(both).T
    i, j = i[:: max(1, len(i) // MOST_POINTS)], j[:: max(1, len(i) // MOST_POINTS)]
    left, right = geometry.left.points(stereo[i, :2], K), geometry.right.points(stereo[i, 2:4], K)
    after = geometry.left.points(motion[j, 2:4], K)
    flow, d = np.linalg.norm(after - left, axis=1), left[:, 0] - right[:, 0]
    keep = (flow > STILL_PX) & (d > 1.0) & (np.abs(left[:, 1] - right[:, 1]) < CUT_PX)
    if np.count_nonzero(keep) < LEAST_POINTS or np.median(flow[keep]) < LEAST_MOTION * geometry.rig.width:
        return None
    return left[keep], d[keep], after[keep]


def _error(left: np.ndarray, disparity: np.ndarray, after: np.ndarray, geometry: Geometry, factor: float) -> float:
    rig = geometry.rig
    K = rig.K.copy()
    K[0, 0] *= factor
    K[1, 1] *= factor
    z = K[0, 0] * rig.baseline_m / np.maximum(disparity, 0.5)
    points = np.stack([(left[:, 0] - K[0, 2]) / K[0, 0] * z, (left[:, 1] - K[1, 2]) / K[1, 1] * z, z], 1)
    cv2.setRNGSeed(0)
    found = cv2.solvePnPRansac(
        points, after, K, None, iterationsCount=200, reprojectionError=CUT_PX, flags=cv2.SOLVEPNP_EPNP
    )
    ok, turn, shift, inliers = found
    if not ok or inliers is None or len(inliers) < 6:
        return CUT_PX**2
    k = inliers[:, 0]
    turn, shift = cv2.solvePnPRefineLM(points[k], after[k], K, None, turn, shift)
    e = np.linalg.norm(cv2.projectPoints(points, turn, shift, K, None)[0][:, 0] - after, axis=1)
    return float(np.mean(np.minimum(e, CUT_PX) ** 2))
