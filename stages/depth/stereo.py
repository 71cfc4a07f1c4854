"""From one rectified pair to disparities with standard deviations: semi-global matching, refined coarse to fine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from stages.depth import seed as seeding
from stages.depth.confidence import GUESSED, calibrated_sigma, features, with_guess
from stages.depth.guess import Guess
from stages.depth.photometry import noise_level
from stages.depth.refine import Refined, RefineSettings, Start, refine, visible_in_right
from stages.depth.thin_plate import prolong

_CURVATURE_TIMES_WIDTH = 56.0
"""Standard deviation of a surface's second derivative of disparity times the picture's width: an object that fills a third of it."""
_OFFSET_SHARE = 0.05
"""Window over which brightness differences between the eyes are smooth, as a share of the picture's width."""
_VOLUME_LIMIT = 120_000_000
"""Cells of a cost volume (3 bytes each) above which matching goes to a coarser level, so that memory is bounded."""


@dataclass(frozen=True)
class Estimate:
    """(H, W) float32 left disparity in px and its standard deviation in px; NaN in both where the right eye sees nothing of it."""

    disparity_px: np.ndarray
    sigma_px: np.ndarray
    range_px: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0


Prior = Callable[[np.ndarray, np.ndarray], Guess]
"""(H, W, 3) uint8 rectified pair -> guess, of any size."""


@dataclass(frozen=True)
class SemiGlobalStereo:
    """Semi-global matching at reduced size, refined by Gauss-Newton and a thin plate up to `work_megapixels`."""

    work_megapixels: float
    matching_megapixels: float
    steps: int
    max_sigma_px: float
    cost: seeding.Cost = seeding.census_cost
    prior: Prior | None = None
    """a network asked first, whose guess joins the matching"""

    def __call__(self, left_rgb: np.ndarray, right_rgb: np.ndarray) -> Estimate:
        """(H, W, 3) uint8 rectified pair -> estimate at the same size. Deterministic; one thread."""
        h, w = left_rgb.shape[:2]
        scale = min(1.0, float(np.sqrt(self.work_megapixels * 1e6 / (h * w))))
        pair = resized(left_rgb, right_rgb, scale)
        levels = _pyramid(*pair, self.matching_megapixels)
        levels, (first, count) = _fit_volume(levels, self.cost)
        levels = _equal_brightness(levels)
        guess = self.prior(left_rgb, right_rgb) if self.prior else None
        start = seeding.seed(
            levels[-1], first, count, self.cost, guess=guess and guess_at(guess, levels[-1].left.shape)
        )
        refined, start = _coarse_to_fine(levels, start, self.steps, guess is not None)
        estimate = _estimate(refined, start, guess and guess_at(guess, pair[0].shape[:2]), self.max_sigma_px * scale)
        factor = 2 ** (len(levels) - 1) / scale
        full = enlarged(estimate, (h, w))
        return Estimate(
            full.disparity_px, full.sigma_px, (first * factor, (first + count - 1) * factor), levels[0].noise
        )


def resized(left: np.ndarray, right: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    if scale == 1.0:
        return left.astype(np.float32), right.astype(np.float32)
    size = round(left.shape[1] * scale), round(left.shape[0] * scale)
    left, right = (cv2.resize(i, size, interpolation=cv2.INTER_AREA).astype(np.float32) for i in (left, right))
    return left, right


def level_of(left_rgb: np.ndarray, right_rgb: np.ndarray) -> seeding.Level:
    """Of a pair of (H, W, 3) float32 RGB pictures."""
    left, right = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) for i in (left_rgb, right_rgb))
    noise = float(np.sqrt(0.5 * (noise_level(left) ** 2 + noise_level(right) ** 2)))
    return seeding.Level(left_rgb, right_rgb, left, right, noise=noise)


def _halved(level: seeding.Level) -> seeding.Level:
    # the blur before the reduction keeps texture finer than the coarse pixel from turning into false detail
    size = (level.left.shape[1] + 1) // 2, (level.left.shape[0] + 1) // 2
    odd_h, odd_w = level.left.shape[0] % 2, level.left.shape[1] % 2
    out = []
    for image in (level.left_rgb, level.right_rgb):
        even = cv2.copyMakeBorder(image, 0, odd_h, 0, odd_w, cv2.BORDER_REPLICATE) if odd_h or odd_w else image
        out.append(cv2.resize(even, size, interpolation=cv2.INTER_AREA))
    return level_of(*out)


def _pyramid(left_rgb: np.ndarray, right_rgb: np.ndarray, matching_megapixels: float) -> list[seeding.Level]:
    """Finest first; each level half the one before; the last is the one to match at."""
    levels = [level_of(left_rgb, right_rgb)]
    while levels[-1].left.size > matching_megapixels * 1e6:
        levels.append(_halved(levels[-1]))
    return levels


def _fit_volume(levels: list[seeding.Level], cost: seeding.Cost) -> tuple[list[seeding.Level], tuple[int, int]]:
    """Levels down to one whose cost volume fits the memory limit, with the range of disparities at that level."""
    while True:
        coarse = _halved(levels[-1])
        first, count = seeding.disparity_range(coarse, cost)
        if levels[-1].left.size * count <= _VOLUME_LIMIT:
            return levels, (first, count)
        levels = [*levels, coarse]


def _equal_brightness(levels: list[seeding.Level]) -> list[seeding.Level]:
    """Right pictures scaled per channel to the left's mean: gain and white balance; what remains is taken up locally."""
    gain = levels[-1].left_rgb.mean((0, 1)) / np.maximum(levels[-1].right_rgb.mean((0, 1)), 1e-3)
    out = []
    for level in levels:
        right = level.right_rgb * gain.astype(np.float32)
        out.append(
            seeding.Level(level.left_rgb, right, level.left, cv2.cvtColor(right, cv2.COLOR_RGB2GRAY), noise=level.noise)
        )
    return out


def _coarse_to_fine(levels: list[seeding.Level], start: Start, steps: int, anchored: bool) -> tuple[Refined, Start]:
    for k in range(len(levels) - 1, -1, -1):
        level = levels[k]
        width = level.left.shape[1]
        settings = RefineSettings(
            _CURVATURE_TIMES_WIDTH / width, 2 * round(_OFFSET_SHARE * width / 2) + 1, anchored=anchored
        )
        coarsest = k == len(levels) - 1
        blurs = (
            (2.0, 0.7)
            if coarsest and k > 0
            else (2.0,) + (0.7,) * steps
            if coarsest
            else (0.7,) * (steps if k == 0 else 1)
        )
        refined = refine(level.left, level.right, start, level.noise, blurs=blurs, s=settings)
        if k > 0:
            start = _finer(refined, start, levels[k - 1].left.shape, anchored)
    return refined, start


def _finer(refined: Refined, start: Start, shape: tuple[int, int], anchored: bool) -> Start:
    """The start of the next finer level: disparities interpolated along links, links repeated.

    What matching knew has been used; what a network knew of flat areas still holds (`anchored`), in four pixels of half the size each.
    """
    whole = np.ones_like(start.disparity_px)
    d = 2 * prolong(refined.disparity_px, whole, start.link_x, start.link_y, fine=np.zeros(shape, np.float32))
    link_x, link_y = np.ones(shape, np.float32), np.ones(shape, np.float32)
    cut_x, cut_y = (np.repeat(l, 2, axis)[: shape[0], : shape[1]] for l, axis in ((start.link_x, 0), (start.link_y, 1)))
    link_x[:, 1::2] = cut_x[:, : link_x[:, 1::2].shape[1]]
    link_y[1::2] = cut_y[: link_y[1::2].shape[0]]
    link_x[:, -1] = link_y[-1] = 0
    support = cv2.resize(start.support, shape[::-1], interpolation=cv2.INTER_LINEAR)
    anchor = (
        cv2.resize(start.anchor, shape[::-1], interpolation=cv2.INTER_NEAREST) / 16
        if anchored
        else np.zeros(shape, np.float32)
    )
    return Start(d, anchor, link_x, link_y, support=support)


def _estimate(refined: Refined, start: Start, guess: Guess | None, max_sigma_px: float) -> Estimate:
    d = refined.disparity_px
    found = features(refined.plate_sigma_px, refined.misfit, start.support, d)
    sigma = calibrated_sigma(found) if guess is None else calibrated_sigma(with_guess(found, d, guess), GUESSED)
    valid = visible_in_right(d, 1.0) & (sigma <= max_sigma_px) & (d > 0.25)
    return Estimate(np.where(valid, d, np.float32(np.nan)), np.where(valid, sigma, np.float32(np.nan)))


def guess_at(guess: Guess, shape: tuple[int, int]) -> Guess:
    """The same at another size, in its px."""
    estimate = enlarged(Estimate(guess.disparity_px, guess.sigma_px), shape)
    confirmed = cv2.resize(guess.confirmed.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return Guess(estimate.disparity_px, estimate.sigma_px, confirmed)


def enlarged(estimate: Estimate, shape: tuple[int, int]) -> Estimate:
    """At full size: linear within a surface, nearest beside depth edges and holes; lengths in px of the full size."""
    d, sigma = estimate.disparity_px, estimate.sigma_px
    if d.shape == shape:
        return estimate
    size, factor = shape[::-1], np.float32(shape[1] / d.shape[1])
    known = np.isfinite(d)
    filled = np.where(known, d, np.float32(-1e3))
    step = cv2.dilate(filled, np.ones((3, 3))) - cv2.erode(filled, np.ones((3, 3)))
    smooth = cv2.resize((step < 2).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    nearest, linear = (cv2.resize(d, size, interpolation=i) for i in (cv2.INTER_NEAREST, cv2.INTER_LINEAR))
    out = np.where(smooth, linear, nearest) * factor
    return Estimate(out, cv2.resize(sigma, size, interpolation=cv2.INTER_NEAREST) * factor)
