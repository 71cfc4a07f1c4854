"""Aligns the whole visible surface of two frames where too few points match: bare objects, wide steps between views.

Both frames have a dense disparity, so the surface of one is laid onto the surface of the other (projective point-to-plane ICP, Chen &
Medioni 1992, done on disparities, whose errors are even over the picture), together with its grey values (direct alignment, as Kerl et
al. 2013), by Gauss-Newton with Cauchy weights, coarse to fine. It needs a start within about 15 degrees and gives about half a degree,
which is enough to find the same surface spots in both frames afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import exp_se3, transform

GATES = (0.30, 0.15, 0.08, 0.05)
"""a surface point pairs with the surface it projects onto while their disparities differ by less than this share; one value a pass"""
BLURS = (4.0, 2.0, 1.0, 0.7)
"""blur of the grey values in each pass, px of the small picture"""
ITERATIONS = 8
GRAY_SIGMA = 12.0
"""grey levels: noise, and shading that changes as the object turns under a lamp"""
DISPARITY_SIGMA = 0.5
"""px of the full picture: least standard deviation of a dense disparity"""
MAX_POINTS = 6000
CORRELATED = 25.0
"""pixels of one patch err together: this many count as one when the certainty of the result is computed"""


@dataclass(frozen=True)
class Alignment:
    """b_from_a (4, 4), the share of a's surface that found a partner, its grey correlation, the turn's standard deviation (rad)."""

    b_from_a: np.ndarray
    paired: float
    correlation: float
    sigma_rad: float


def align_surfaces(a: DenseView, b: DenseView, start: np.ndarray, object_only: bool) -> Alignment | None:
    """Refine `start` (b_from_a); None when the surfaces do not meet or leave the motion open (a ball, a plane)."""
    pixels, x_a = a.surface(object_only)
    step = max(1, len(pixels) // MAX_POINTS)
    pixels, x_a = pixels[::step], x_a[::step]
    if len(x_a) < 200:
        return None
    target = _Target.of(b, object_only)
    motion, last = start.copy(), None
    for gate, blur in zip(GATES, BLURS, strict=True):
        gray_a = cv2.GaussianBlur(a.gray.astype(np.float32), (0, 0), blur)[pixels[:, 1], pixels[:, 0]]
        gray_b = cv2.GaussianBlur(b.gray.astype(np.float32), (0, 0), blur)
        for _ in range(ITERATIONS):
            last = _linearise(target, gray_b, gray_a, transform(motion, x_a), gate)
            if last is None:
                return None
            delta = np.linalg.solve(last.normal + 1e-6 * np.diag(np.diag(last.normal)), -last.gradient)
            centre = last.centre
            update = exp_se3(delta)
            update[:3, 3] += centre - update[:3, :3] @ centre  # the turn is about the surface's centre, not the camera
            motion = update @ motion
            if np.abs(delta[:3]).max() < 1e-5:
                break
    covariance = np.linalg.inv(last.normal) * CORRELATED * step
    return Alignment(
        motion, last.paired, last.correlation, float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3]).max()))
    )


@dataclass(frozen=True)
class _Target:
    """Disparity (h, w) px with its slopes, NaN = none or off the object; sigma; the view it came from."""

    view: DenseView
    disparity: np.ndarray
    slope_x: np.ndarray
    slope_y: np.ndarray
    sigma: np.ndarray

    @staticmethod
    def of(view: DenseView, object_only: bool) -> _Target:
        d = view.disparity.astype(np.float32)
        if object_only and view.mask.any():
            d = np.where(view.mask, d, np.nan)
        # slopes over five pixels, by normalised convolution so that holes do not leak in
        known = np.isfinite(d).astype(np.float32)
        smooth = cv2.GaussianBlur(np.nan_to_num(d), (0, 0), 1.5) / np.maximum(
            cv2.GaussianBlur(known, (0, 0), 1.5), 1e-3
        )
        x, y = np.gradient(smooth, axis=1), np.gradient(smooth, axis=0)
        # a jump between two surfaces is no slope
        jump = np.hypot(x, y) > 0.05 * np.maximum(smooth, 1e-3)
        return _Target(
            view,
            np.where(jump, np.nan, d),
            x,
            y,
            np.maximum(np.nan_to_num(view.sigma.astype(np.float32), nan=9.0), DISPARITY_SIGMA),
        )


@dataclass(frozen=True)
class _System:
    normal: np.ndarray
    gradient: np.ndarray
    centre: np.ndarray
    paired: float
    correlation: float


def _linearise(target: _Target, gray_b: np.ndarray, gray_a: np.ndarray, x: np.ndarray, gate: float) -> _System | None:
    """Normal equations of both residuals for a small turn about the paired surface's centre and a shift."""
    rig = target.view.rig
    uv = rig.project(x)
    inside = (uv[:, 0] > 1) & (uv[:, 1] > 1) & (uv[:, 0] < rig.width - 2) & (uv[:, 1] < rig.height - 2)
    pixel = np.rint(np.where(inside[:, None], uv, 1)).astype(int)
    at = (pixel[:, 1], pixel[:, 0])
    offset = uv - pixel
    there = target.disparity[at] + target.slope_x[at] * offset[:, 0] + target.slope_y[at] * offset[:, 1]
    predicted = target.view.predicted_disparity(x)
    with np.errstate(invalid="ignore"):
        pair = inside & (np.abs(predicted - there) < gate * predicted)
    if pair.sum() < 100:
        return None
    x, uv, at = x[pair], uv[pair], (at[0][pair], at[1][pair])
    centre = x.mean(0)
    z = x[:, 2]
    zero = np.zeros(len(z))
    du = np.stack([rig.fx / z, zero, -rig.fx * x[:, 0] / z**2], 1)
    dv = np.stack([zero, rig.fy / z, -rig.fy * x[:, 1] / z**2], 1)
    dd = np.stack([zero, zero, -predicted[pair] / z], 1)
    depth_row = dd - target.slope_x[at][:, None] * du - target.slope_y[at][:, None] * dv
    depth_error = predicted[pair] - there[pair]
    value, gx, gy = _sample(gray_b, uv)
    gain, shift = np.polyfit(gray_a[pair], value, 1) if np.ptp(gray_a[pair]) > 1 else (1.0, 0.0)
    gain = float(np.clip(gain, 0.5, 2.0))
    shift = float(np.median(value - gain * gray_a[pair]))
    gray_row = gx[:, None] * du + gy[:, None] * dv
    gray_error = value - gain * gray_a[pair] - shift
    rows, errors = np.concatenate([depth_row, gray_row]), np.concatenate([depth_error, gray_error])
    sigma = np.concatenate(
        [np.maximum(target.sigma[at], DISPARITY_SIGMA * np.ones(len(z))), np.full(len(z), GRAY_SIGMA)]
    )
    weight = 1 / (sigma**2 * (1 + (errors / (2 * sigma)) ** 2))
    arm = np.concatenate([x - centre, x - centre])
    jacobian = np.concatenate([np.cross(arm, rows), rows], 1)
    correlation = (
        float(np.corrcoef(gray_a[pair], value)[0, 1]) if gray_a[pair].std() > 0.5 and value.std() > 0.5 else 0.0
    )
    return _System(
        (jacobian * weight[:, None]).T @ jacobian,
        jacobian.T @ (weight * errors),
        centre,
        float(pair.mean()),
        correlation,
    )


def _sample(image: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bilinear value and its slope in x and y at (N, 2) px."""
    m = uv.astype(np.float32).reshape(-1, 1, 2)

    def at(dx, dy):
        return cv2.remap(image, m + np.float32([dx, dy]), None, cv2.INTER_LINEAR)[:, 0]

    return at(0, 0), 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
