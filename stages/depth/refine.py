"""Sub-pixel disparities from an integer start: Gauss-Newton on the pictures, joined over each surface by a thin plate.

Each step warps the right picture to the left by the current disparity, reads from residual and gradient where every pixel wants to go
and how sure it is (Lucas and Kanade 1981; gradients of both pictures averaged, as in Malis' efficient second-order minimisation 2004,
which also makes the result symmetric in the eyes and so free of the pull towards whole pixels), and lets `thin_plate.solve` combine
these votes. No window is involved: the plate gathers as many pixels as it needs, few on texture and many on blank areas, and never
across a depth edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba as nb
import numpy as np

from stages.depth import thin_plate
from stages.depth.photometry import spline_coefficients, spline_rows
from stages.depth.posterior import log_variance, posterior_sigma
from stages.depth.thin_plate import Plate


@dataclass(frozen=True)
class RefineSettings:
    """Constants of the refinement; lengths in px of the level at hand."""

    curvature: float
    """standard deviation of the second derivative of disparity on a surface, 1/px"""
    offset_window_px: int
    """brightness differences between the eyes are taken as smooth over this length"""
    match_error_px: float = 0.05
    """error of one pixel's vote that no gradient makes smaller: sampling, blur and reflections that differ between the eyes"""
    correlation: float = 8.0
    """neighbouring votes per independent one: noise and match error are smooth over a few pixels"""
    tension: float = 0.1
    """inverse variance of the slope of disparity: keeps surfaces without information from running away"""
    looseness: float = 16.0
    """the plate may locally bend this many times more"""
    excess: float = 1.0
    """how many variances loose and stiff plate differ by where the stiffness has halved"""
    anchored: bool = False
    """whether the start's own information counts in what the result is worth: a network's does, a matching result is made of the same
    pixels as the votes"""


@dataclass(frozen=True)
class Start:
    """Where a refinement starts, (H, W) float32 each."""

    disparity_px: np.ndarray
    anchor: np.ndarray
    """information of the start itself, 1/px^2: 0 where it was not confirmed"""
    link_x: np.ndarray
    link_y: np.ndarray
    support: np.ndarray
    """0-1: share of the neighbourhood that matching confirmed on texture"""


@dataclass(frozen=True)
class Refined:
    """A refined disparity map with what its sigma is made from, (H, W) float32 each."""

    disparity_px: np.ndarray
    plate_sigma_px: np.ndarray
    """what the plate model claims, not yet calibrated"""
    misfit: np.ndarray
    information: np.ndarray


@dataclass(frozen=True)
class Votes:
    """What the pictures say of each pixel at the current disparity, (H, W) float32 each."""

    target_px: np.ndarray
    information: np.ndarray
    """inverse variance, 1/px^2; 0 where unseen, flat or contradicted"""
    misfit: np.ndarray
    """squared residual over its expectation, local mean"""


@nb.njit(nogil=True, cache=True, fastmath=True)
def _moments(difference, offset, slope_left, slope_right, visible):
    """Per pixel: squared gradient, gradient times residual, squared residual; zero where unseen."""
    h, w = difference.shape
    gg, gr, rr = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    for y in range(h):
        for x in range(w):
            if visible[y, x]:
                g = np.float32(0.5) * (slope_left[y, x] + slope_right[y, x])
                r = difference[y, x] - offset[y, x]
                gg[y, x], gr[y, x], rr[y, x] = g * g, g * r, r * r
    return gg, gr, rr


@nb.njit(nogil=True, cache=True, fastmath=True)
def _inform(gg, gr, mean_gg, mean_gr, mean_rr, disparity, noise, noise_slope, match_error):
    """Target, information and misfit of each pixel.

    The gradient's own noise is taken off. Misfit is the residual that no shift of the neighbourhood explains, over its expectation:
    contradicted pixels lose weight (Cauchy), pixels that are merely not there yet do not.
    """
    h, w = disparity.shape
    target, information, misfit = (
        np.empty((h, w), np.float32),
        np.empty((h, w), np.float32),
        np.empty((h, w), np.float32),
    )
    tiny = np.float32(1e-3)
    floor = np.float32(1.5) * noise_slope * noise_slope
    for y in range(h):
        for x in range(w):
            real = max(np.float32(0), np.float32(1) - floor / (mean_gg[y, x] + tiny))
            unexplained = max(mean_rr[y, x] - mean_gr[y, x] * mean_gr[y, x] / (mean_gg[y, x] + tiny), np.float32(0))
            misfit[y, x] = unexplained / (noise * noise + match_error * match_error * mean_gg[y, x])
            trust = np.float32(1) / (np.float32(1) + misfit[y, x] / np.float32(4))
            information[y, x] = trust * real * gg[y, x] / (noise * noise + match_error * match_error * gg[y, x])
            step = -gr[y, x] / (gg[y, x] + tiny)
            target[y, x] = disparity[y, x] + min(max(step, np.float32(-2)), np.float32(2))
    return target, information, misfit


@nb.njit(nogil=True, cache=True)
def visible_in_right(disparity: np.ndarray, tolerance_px: float) -> np.ndarray:
    """(H, W) bool: the match lies inside the right picture and no nearer surface lands on it (z-buffer of each row).

    Pixels of one steep surface crowd together in the right picture without hiding each other: the tolerance grows with the slope.
    """
    h, w = disparity.shape
    out = np.zeros((h, w), np.bool_)
    for y in range(h):
        nearest = np.full(w + 1, np.float32(-1))
        for x in range(w):
            d = disparity[y, x]
            position = x - d
            if 0 <= position <= w - 1:
                i = int(position)
                nearest[i] = max(nearest[i], d)
                nearest[i + 1] = max(nearest[i + 1], d)
        for x in range(w):
            d = disparity[y, x]
            position = x - d
            if 0 <= position <= w - 1:
                i = int(position)
                slope = min(
                    abs(disparity[y, min(x + 1, w - 1)] - d), abs(d - disparity[y, max(x - 1, 0)]), np.float32(0.9)
                )
                out[y, x] = max(nearest[i], nearest[i + 1]) <= d + tolerance_px + 2 * slope / (1 - slope)
    return out


@nb.njit(nogil=True, cache=True)
def links(disparity: np.ndarray, jump_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 where the right and the lower neighbour differ by less than their `jump_px` (H, W), 0 at depth edges; (H, W) float32 each."""
    h, w = disparity.shape
    lx, ly = np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    for y in range(h):
        for x in range(w):
            if x < w - 1 and abs(disparity[y, x + 1] - disparity[y, x]) < max(jump_px[y, x], jump_px[y, x + 1]):
                lx[y, x] = 1
            if y < h - 1 and abs(disparity[y + 1, x] - disparity[y, x]) < max(jump_px[y, x], jump_px[y + 1, x]):
                ly[y, x] = 1
    return lx, ly


def votes(
    left: np.ndarray, right: np.ndarray, disparity: np.ndarray, noise: float, blur: float, s: RefineSettings
) -> Votes:
    """One look at the pictures ((H, W) float32, equal brightness) through a Gaussian of `blur` px; `noise` in grey levels."""
    a, b = cv2.GaussianBlur(left, (0, 0), blur), cv2.GaussianBlur(right, (0, 0), blur)
    slope_left = spline_rows(spline_coefficients(a), np.zeros_like(a))[1]
    value, slope_right = spline_rows(spline_coefficients(b), disparity)
    visible = visible_in_right(disparity, 1.0) & np.isfinite(value)
    difference = np.where(visible, a - value, np.float32(0))
    gg, gr, rr = _moments(
        difference, _smooth_offset(difference, visible, s.offset_window_px), slope_left, slope_right, visible=visible
    )
    around = [cv2.blur(m, (5, 5)) for m in (gg, gr, rr)]
    # white noise through a Gaussian, and its derivative; two eyes: the difference adds, the mean gradient halves the variance
    residual_noise = np.float32(noise * np.sqrt(2) / (np.sqrt(4 * np.pi) * blur))
    slope_noise = np.float32(noise / np.sqrt(2) / (np.sqrt(8 * np.pi) * blur**2))
    target, information, misfit = _inform(
        gg, gr, *around, disparity, residual_noise, slope_noise, np.float32(s.match_error_px)
    )
    return Votes(target, information / np.float32(s.correlation), misfit)


def _smooth_offset(difference: np.ndarray, visible: np.ndarray, window: int) -> np.ndarray:
    """Local mean of the brightness difference over visible pixels; large differences (mismatches, highlights) are clipped first."""
    weight = visible.astype(np.float32)
    size = (window, window)
    total = cv2.blur(np.clip(difference, -20, 20) * weight, size)
    return total / np.maximum(cv2.blur(weight, size), np.float32(1e-3))


def local_stiffness(target: np.ndarray, information: np.ndarray, start: Start, s: RefineSettings) -> np.ndarray:
    """(H, W) factor on the plate's stiffness, from the data: below 1 where a loose plate differs from a stiff one by more than its noise.

    Where the two agree, or nobody knows better, the stiff one stands; a crease, a rim or a wrinkle that texture shows is let go.
    """
    stiff, loose = 1.0 / s.curvature**2, 1.0 / (s.curvature * s.looseness) ** 2
    a = thin_plate.solve(target, information, start.link_x, start.link_y, plate=Plate(s.tension, stiff))
    b = thin_plate.solve(target, information, start.link_x, start.link_y, plate=Plate(s.tension, loose))
    variance = np.exp(log_variance(information, np.full(a.shape, loose, np.float32), start.link_x, start.link_y))
    excess = cv2.GaussianBlur(np.minimum((a - b) ** 2 / variance, 1e4), (0, 0), 1.5)
    return np.maximum(1 / (1 + (excess / s.excess) ** 2), s.looseness**-2).astype(np.float32)


def refine(
    left: np.ndarray, right: np.ndarray, start: Start, noise: float, blurs: tuple[float, ...], s: RefineSettings
) -> Refined:
    """(H, W) float32 pictures of equal brightness -> refined disparities; one Gauss-Newton step per entry of `blurs` (px)."""
    stiffness = 1.0 / s.curvature**2
    d = start.disparity_px
    for blur in blurs:
        vote = votes(left, right, d, noise, blur=blur, s=s)
        information = vote.information + start.anchor
        target = (vote.target_px * vote.information + start.disparity_px * start.anchor) / (
            information + np.float32(1e-9)
        )
        bend = local_stiffness(target, information, start, s)
        plate = Plate(s.tension, stiffness, bend)
        d = thin_plate.solve(target, information, start.link_x, start.link_y, plate=plate)
    worth = vote.information + start.anchor if s.anchored else vote.information
    sigma = posterior_sigma(worth, bend * np.float32(stiffness), start.link_x, start.link_y)
    return Refined(d, sigma, vote.misfit, vote.information)
