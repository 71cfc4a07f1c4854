"""The integer start: disparity range from the data, semi-global matching in it, cleaned depth edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from stages.depth.census import census, hamming_volume
from stages.depth.guess import Guess, joined
from stages.depth.refine import Start, links
from stages.depth.semi_global import aggregate, fill_hidden, jump_penalties, left_right_consistent, winners
from stages.depth.silhouettes import sharpen_depth_edges

_SMALL_JUMP, _LARGE_JUMP, _JUMP_CONTRAST = 9, 140, 60.0
"""Penalties in census bits (of 60) for steps of one and of more disparities, and the grey step that halves the latter."""
_EDGE_PX, _EDGE_UNSUPPORTED_PX = 2.0, 8.0
"""Least disparity step that is a depth edge, where texture confirms the disparities and where nothing does."""
_ANCHOR = 0.05
"""Information of a confirmed matching result, 1/px^2 per pixel: an error of 0.7 px shared by some 40 neighbours."""
_MAX_SHARE = 0.45
"""Largest disparity that is looked for, as a share of the picture's width."""


@dataclass(frozen=True)
class Level:
    """A pair at one resolution: (H, W, 3) float32 RGB of equal brightness, its luminance, and its noise in grey levels."""

    left_rgb: np.ndarray
    right_rgb: np.ndarray
    left: np.ndarray
    right: np.ndarray
    noise: float


@dataclass(frozen=True)
class Match:
    """Semi-global matching of one level, (H, W) each."""

    disparity_px: np.ndarray
    consistent: np.ndarray
    texture: np.ndarray
    """0 = nothing but noise, 1 = contrast far above it"""


def texture_strength(level: Level) -> np.ndarray:
    """(H, W) float32 in 0-1: share of the horizontal gradient's local energy that is not noise."""
    blurred = cv2.GaussianBlur(level.left, (0, 0), 0.7)
    energy = cv2.blur(cv2.Sobel(blurred, cv2.CV_32F, 1, 0, scale=1 / 8) ** 2, (7, 7))
    return np.maximum(0, 1 - 2 * (0.45 * level.noise) ** 2 / (energy + 1e-6)).astype(np.float32)


Cost = Callable[[Level, int, int], np.ndarray]
"""(level, first, count) -> (H, W, count) uint8 cost, 0 to 60, of disparities first .. first + count - 1."""


def census_cost(level: Level, first: int, count: int) -> np.ndarray:
    """The cost that needs no weights: differing bits of the census."""
    threshold = max(3.0, 2.0 * level.noise)
    words = [census(image, threshold) for image in (level.left, level.right)]
    return hamming_volume(*words, first, count)


def match(level: Level, first: int, count: int, cost: Cost = census_cost) -> Match:
    """Semi-global matching over disparities first .. first + count - 1, px of this level."""
    volume = cost(level, first, count)
    guide = np.clip(level.left, 0, 255).astype(np.uint8)
    total = aggregate(volume, guide, _SMALL_JUMP, jump_penalties(_SMALL_JUMP, _LARGE_JUMP, _JUMP_CONTRAST))
    left, right, _ = winners(total, first)
    consistent = left_right_consistent(left, right, 1.0)
    marked = np.where(consistent, left * 16, -16).astype(np.int16)
    cv2.filterSpeckles(marked, -16, 60, 24)
    return Match(left, consistent & (marked > 0), texture_strength(level))


def disparity_range(level: Level, cost: Cost = census_cost) -> tuple[int, int]:
    """(first, count) of disparities in px of a level twice as fine, from a search over the whole range at this level.

    Counts textured, confirmed pixels per disparity; keeps every run that holds more than one pixel in a thousand.
    """
    limit = max(16, int(level.left.shape[1] * _MAX_SHARE))
    found = match(level, 0, limit, cost)
    good = found.consistent & (found.texture > 0.5) & (found.disparity_px > 0.5)
    counts = np.bincount(np.rint(found.disparity_px[good]).astype(int), minlength=limit)
    runs = np.convolve(counts, np.ones(5), "same")
    kept = np.flatnonzero(runs > max(8, level.left.size / 1000))
    low, high = (int(kept[0]), int(kept[-1])) if kept.size else (0, limit - 1)
    margin = 4 + (high - low) // 16
    first = max(0, 2 * (low - margin))
    return first, max(16, 2 * (high + margin) + 1 - first)


def seed(level: Level, first: int, count: int, cost: Cost = census_cost, guess: Guess | None = None) -> Start:
    """Where the refinement starts: disparities, what they are worth, and the links between pixels of one surface.

    A network's guess, of this level's size, takes over where matching has nothing to go by.
    """
    found = match(level, first, count, cost)
    d, known = found.disparity_px, found.consistent
    if guess is not None:
        d, known = joined(d, known, found.texture, guess)
    d = cv2.medianBlur(fill_hidden(d, known, 2 * _EDGE_PX), 5)
    confirmed = known & (found.texture > 0.5)
    supported = cv2.blur(confirmed.astype(np.float32), (5, 5)) > 0.5
    d = sharpen_depth_edges(level.left_rgb, level.right_rgb, d, supported, jump_px=2 * _EDGE_PX)
    support = np.clip(2 * cv2.blur(found.consistent * found.texture, (9, 9)), 0, 1)
    anchor = _ANCHOR * found.consistent * (found.texture + np.float32(0.01))
    sure = support
    if guess is not None:
        # where the disparity that came out is the network's, its information holds it
        near = np.abs(d - guess.disparity_px) < 1 + 2 * guess.sigma_px
        anchor = np.where(near, np.maximum(anchor, guess.information), anchor * (np.abs(d - found.disparity_px) < 2))
        sure = np.maximum(support, np.where(near, guess.certainty, 0))
    edge = (_EDGE_PX + (_EDGE_UNSUPPORTED_PX - _EDGE_PX) * (1 - sure)).astype(np.float32)
    return Start(d, anchor.astype(np.float32), *links(d, edge), support.astype(np.float32))
