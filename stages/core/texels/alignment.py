"""Small corrections of the camera poses so that all pictures agree on the surface (Zhou and Koltun 2014, rigid part).

Every frame moves its stereo pair as one body. Residual: grey level of a surface point in this picture minus its mean over the other
pictures. Gauss-Newton with Cauchy weights, and a prior that holds a frame where its pictures cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import exp_se3, inverse, transform
from stages.core.texels.sampling import sample_at
from stages.core.texels.views import View, Window

_PRIOR_PX = 1.0
"""moving the surface by this many picture pixels costs as much as one robust standard deviation at `_PRIOR_POINTS` points"""
_PRIOR_POINTS = 30.0
_SCHEDULE = ((4.0, 3), (1.5, 3), (0.0, 3))
"""(blur in picture pixels, rounds): the blur widens the basin to errors of a few pixels"""
_WORTH_IT = 0.99
"""corrections that lower the disagreement by less than this are noise: the poses stay"""
_MAX_SHIFT_PX = 8.0
"""a frame whose correction moves the surface further (median) is left as it was: that is no longer a correction"""


@dataclass(frozen=True)
class Aligned:
    """camera_from_object and median shift of the surface (px of the whole picture) per view; residual before and after (grey levels)."""

    camera_from_object: list[np.ndarray]
    shift_px: np.ndarray
    before: float
    after: float


@dataclass(frozen=True)
class _Shown:
    """What the views show: greys (h, w) of their windows, of points (N, 3), weights (V, N)."""

    views: list[View]
    rig: Rig
    greys: list[np.ndarray]
    windows: list[Window]
    points: np.ndarray
    weights: np.ndarray

    def observed(self, cameras: list[np.ndarray]) -> np.ndarray:
        """(V, N) grey levels; NaN where not seen."""
        out = np.full(self.weights.shape, np.nan, np.float32)
        for k, camera in enumerate(cameras):
            seen = self.weights[k] > 0
            uv = self.rig.project(self.points[seen] @ camera[:3, :3].T + camera[:3, 3])
            out[k, seen] = _lookup(self.greys[k], self.windows[k], uv)
        return out

    def blurred(self, px: float) -> _Shown:
        """By so many picture pixels; 0 = as it is."""
        if not px:
            return self
        pairs = zip(self.greys, self.windows, strict=True)
        return replace(self, greys=[cv2.GaussianBlur(g, None, px * w.scale) for g, w in pairs])


def align(
    views: list[View], rig: Rig, greys: list[np.ndarray], windows: list[Window], points: np.ndarray, weights: np.ndarray
) -> Aligned:
    """Corrected cameras. greys: (h, w) float32 exposure-compensated, each of its window; points (N, 3); weights (V, N), 0 = not seen."""
    start = [v.camera_from_object for v in views]
    cameras, weights = list(start), weights / max(float(weights.max()), 1e-30)
    shown = _Shown(views, rig, greys, windows, points=points, weights=weights)
    before = _disagreement(shown.observed(start), weights)
    for blur_px, rounds in _SCHEDULE:
        smooth = shown.blurred(blur_px)
        for _ in range(rounds):
            cameras = _round(cameras, smooth)
    cameras = _without_common_motion(start, cameras, points.mean(0))
    shift = np.array(
        [_shift(a, b, rig, points[weights[k] > 0]) for k, (a, b) in enumerate(zip(start, cameras, strict=True))]
    )
    for members in _pairs(views):
        if max(shift[k] for k in members) > _MAX_SHIFT_PX:
            for k in members:
                cameras[k], shift[k] = start[k], 0.0
    after = _disagreement(shown.observed(cameras), weights)
    if after > _WORTH_IT * before:
        return Aligned(start, np.zeros(len(views)), before, before)
    return Aligned(cameras, shift, before, after)


def _without_common_motion(start: list[np.ndarray], cameras: list[np.ndarray], centre: np.ndarray) -> list[np.ndarray]:
    """Take back what all corrections have in common, seen from the object: it would only slide the texture over the mesh."""
    moved = [inverse(a) @ b for a, b in zip(start, cameras, strict=True)]
    turn = np.mean([cv2.Rodrigues(m[:3, :3])[0].ravel() for m in moved], 0)
    common = exp_se3(np.concatenate([turn, np.zeros(3)]))
    common[:3, 3] = np.mean([transform(m, centre) for m in moved], 0) - common[:3, :3] @ centre
    return [camera @ inverse(common) for camera in cameras]


def _pairs(views: list[View]) -> list[list[int]]:
    """Indices of the views of each frame."""
    return [[k for k, v in enumerate(views) if v.frame == f] for f in sorted({v.frame for v in views})]


def _round(cameras: list[np.ndarray], shown: _Shown) -> list[np.ndarray]:
    """One Gauss-Newton step of every frame against the others as they stand."""
    mean, scale = _others_mean(shown.observed(cameras), shown.weights)
    out = list(cameras)
    for members in _pairs(shown.views):
        step = _step(members, cameras, shown, mean, scale=scale)
        for k in members:
            side = shown.rig.right_from_left if shown.views[k].side == "right" else np.eye(4)
            out[k] = side @ step @ inverse(side) @ cameras[k]
    return out


def _lookup(image: np.ndarray, window: Window, uv: np.ndarray) -> np.ndarray:
    """Bilinear values of a map at picture pixels (n, 2)."""
    return sample_at(image, (uv + 0.5 - [window.x0, window.y0]) * window.scale - 0.5)


def _others_mean(values, weights):
    """Mean over the other views (V, N), NaN where there is none, and the robust scale of the residuals."""
    filled, w = np.nan_to_num(values), np.where(np.isfinite(values), weights, 0)
    for _ in range(2):
        total, weighted = w.sum(0), (w * filled).sum(0)
        rest = total - w
        mean = np.where(rest > 1e-6, (weighted - w * filled) / np.maximum(rest, 1e-6), np.nan)
        residual = filled - mean
        use = (w > 0) & np.isfinite(mean)
        scale = max(1.4826 * float(np.median(np.abs(residual[use]))) if use.any() else 0.0, 1.0)
        w = np.where(use, weights / (1 + (np.nan_to_num(residual) / (2.4 * scale)) ** 2), 0)
    return mean, scale


def _disagreement(values, weights) -> float:
    """Mean robust residual between a view and the others, grey levels, each at most 30: a highlight does not count more."""
    mean, _ = _others_mean(values, weights)
    residual = np.abs(values - mean)
    return float(np.mean(np.minimum(residual[np.isfinite(residual)], 30))) if np.isfinite(residual).any() else 0.0


def _step(members: list[int], cameras: list[np.ndarray], shown: _Shown, mean: np.ndarray, scale: float) -> np.ndarray:
    """Motion (4, 4) of the left camera's frame for one stereo pair: exp_se3(xi) applied after camera_from_object."""
    normal, right = np.zeros((6, 6)), np.zeros(6)
    rig, points, weights = shown.rig, shown.points, shown.weights
    for k in members:
        use = (weights[k] > 0) & np.isfinite(mean[k])
        x = points[use] @ cameras[k][:3, :3].T + cameras[k][:3, 3]
        uv, z = rig.project(x), x[:, 2]
        gu, gv = _gradient(shown.greys[k], shown.windows[k], uv)
        residual = mean[k, use] - _lookup(shown.greys[k], shown.windows[k], uv)
        a, b = gu * rig.fx / z, gv * rig.fy / z
        direction = np.stack([a, b, -(a * x[:, 0] + b * x[:, 1]) / z], 1)
        # the left camera's frame differs from the right one's by a translation only
        origin = np.array([rig.baseline_m, 0, 0]) if shown.views[k].side == "right" else np.zeros(3)
        jacobian = np.concatenate([np.cross(x + origin, direction), direction], 1)
        w = weights[k, use] / (1 + (residual / (2.4 * scale)) ** 2)
        normal += jacobian.T @ (jacobian * w[:, None])
        right += jacobian.T @ (residual * w)
        motion = (
            np.concatenate([np.cross(x + origin, [rig.fx, 0, 0]), np.tile([rig.fx, 0, 0], (len(x), 1))], 1) / z[:, None]
        )
        normal += _prior(motion, scale, float(np.mean(w)) if len(w) else 0.0)
    return exp_se3(np.linalg.solve(normal + 1e-12 * np.eye(6), right))


def _gradient(image: np.ndarray, window: Window, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels per picture pixel along u and v, over one pixel of the map."""
    h = 0.5 / window.scale
    right, down = np.array([h, 0]), np.array([0, h])

    def difference(d):
        return (_lookup(image, window, uv + d) - _lookup(image, window, uv - d)) / (2 * h)

    return difference(right), difference(down)


def _prior(motion: np.ndarray, scale: float, weight: float) -> np.ndarray:
    """Information (6, 6) that says "the surface moves by `_PRIOR_PX`", in every parameter, worth `_PRIOR_POINTS` points."""
    if not len(motion):
        return np.zeros((6, 6))
    size = np.sqrt(np.mean(motion**2, 0))
    typical = np.concatenate([np.full(3, size[:3].max()), np.full(3, size[3:].max())])
    return np.diag(typical**2) * weight * _PRIOR_POINTS * (scale / _PRIOR_PX) ** 2


def _shift(before: np.ndarray, after: np.ndarray, rig: Rig, points: np.ndarray) -> float:
    a, b = (rig.project(points @ c[:3, :3].T + c[:3, 3]) for c in (before, after))
    return float(np.median(np.linalg.norm(a - b, axis=1))) if len(points) else 0.0
