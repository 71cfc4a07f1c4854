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

from stages.core.dense.kept import KEPT
from stages.core.dense.normal_equations import COLUMNS, Points, Target, linearise
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import exp_se3

GATES = (0.30, 0.15, 0.08, 0.05)
"""a surface point pairs with the surface it projects onto while their disparities differ by less than this share; one value a pass"""
BLURS = (4.0, 2.0, 1.0, 0.7)
"""blur of the grey values in each pass, px of the small picture"""
ITERATIONS = 8
DISPARITY_SIGMA = 0.5
"""px of the full picture: least standard deviation of a dense disparity"""
MAX_POINTS, LEAST_POINTS = 6000, 200
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
    pixels, x_a, step = surface_sample(a, object_only)
    if len(x_a) < LEAST_POINTS:
        return None
    target, xyz, room = target_of(b, object_only), x_a.copy(), np.empty((len(x_a), COLUMNS))
    motion, last = start.copy(), None
    for gate, blur in zip(GATES, BLURS, strict=True):
        points, gray_b = Points(xyz, blurred(a, blur)[pixels[:, 1], pixels[:, 0]], room), blurred(b, blur)
        for _ in range(ITERATIONS):
            last = linearise(target, gray_b, points, motion, gate)
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


def surface_sample(view: DenseView, object_only: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Pixels (N, 2) and points (N, 3) of every so many-th place of the surface, about MAX_POINTS at most; and the every so many."""
    pixels, xyz = view.surface(object_only)
    step = max(1, len(pixels) // MAX_POINTS)
    return pixels[::step], xyz[::step], step


def blurred(view: DenseView, blur: float) -> np.ndarray:
    """(h, w) float32 grey values, read-only; `blur` px."""
    return KEPT.of(view, ("blurred", blur), lambda: (cv2.GaussianBlur(view.gray.astype(np.float32), (0, 0), blur),))[0]


def target_of(view: DenseView, object_only: bool) -> Target:
    """The view to lay points onto; with `object_only` nothing off the object."""
    rig = view.rig
    camera = np.array([rig.fx, rig.fy, rig.cx, rig.cy, rig.fx * rig.baseline_m * view.zoom])
    return Target(camera, KEPT.of(view, ("target", object_only), lambda: (_seen(view, object_only),))[0])


def _seen(view: DenseView, object_only: bool) -> np.ndarray:
    """(h, w, 4) float32: disparity, NaN = none; its slopes over five pixels; its sigma."""
    d = view.disparity.astype(np.float32)
    if object_only and view.mask.any():
        d = np.where(view.mask, d, np.nan)
    # by normalised convolution, so that holes do not leak in
    known = np.isfinite(d).astype(np.float32)
    smooth = cv2.GaussianBlur(np.nan_to_num(d), (0, 0), 1.5) / np.maximum(cv2.GaussianBlur(known, (0, 0), 1.5), 1e-3)
    x, y = np.gradient(smooth, axis=1), np.gradient(smooth, axis=0)
    # a jump between two surfaces is no slope
    jump = np.hypot(x, y) > 0.05 * np.maximum(smooth, 1e-3)
    sigma = np.maximum(np.nan_to_num(view.sigma.astype(np.float32), nan=9.0), DISPARITY_SIGMA)
    return np.stack([np.where(jump, np.nan, d), x, y, sigma], -1).astype(np.float32)
