"""Where the right eye sees the key points of the left one: a search along the row, then least-squares matching to sub-pixel.

The dense disparity only says where to look first. It is not read off as the answer: its smoothness and sub-pixel estimate are biased,
and a metric pose inherits every bias of the disparity.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numba
import numpy as np

from stages.track.points.patch_alignment import SAMPLES, STEPS, align, sample_window

LEVELS = 4
"""levels of the picture pyramid"""
SEARCH_RADIUS = 5
"""half width of the window of the integer search, px of its level"""
NOISE_FLOOR = 0.01
"""added to 1 - correlation in the ratio of best to second best, so that two perfect matches count as equal"""
FITTING_SCALE = 2.5
"""blob scale (px) that the window of `align` is made for; coarser points are measured higher up the pyramid"""


def pyramid(gray: np.ndarray) -> tuple[np.ndarray, ...]:
    """LEVELS float32 pictures, each half of the one before; pixel x of a level is pixel 2x of the finer one (centres at integers)."""
    levels = [gray.astype(np.float32)]
    for _ in range(LEVELS - 1):
        small = min(levels[-1].shape) < 32
        levels.append(levels[-1] if small else cv2.pyrDown(levels[-1]))
    return tuple(levels)


def usable_levels(shape: Sequence[int]) -> int:
    """How many levels `pyramid` really makes for a picture of this shape."""
    return int(np.clip(1 + np.floor(np.log2(max(min(shape), 32) / 32)), 1, LEVELS))


def level_of(scale_px: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(N,) int64 pyramid level that suits blobs of this scale."""
    level = np.rint(np.log2(np.maximum(scale_px, 1e-3) / FITTING_SCALE))
    return np.clip(level, 0, usable_levels(shape) - 1).astype(np.int64)


def measure_right(
    left: tuple[np.ndarray, ...],
    right: tuple[np.ndarray, ...],
    uv: np.ndarray,
    level: np.ndarray,
    guess_px: np.ndarray,
    guess_sigma_px: np.ndarray,
    search_px: tuple[float, float],
    min_correlation: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u_right (N,), disparity slope (N, 2) per px in x and y, sigma (N,) px; NaN where the right eye shows no unmistakable match.

    `left`, `right`: pyramids; `guess_px` (N,) dense disparity with `guess_sigma_px`, NaN = search all of `search_px` (least, most).
    """
    arrays = [np.ascontiguousarray(a, np.float64) for a in (uv, guess_px, guess_sigma_px)]
    u_right, slope, sigma = np.full(len(uv), np.nan), np.full((len(uv), 2), np.nan), np.full(len(uv), np.nan)
    _measure_all(
        left,
        right,
        arrays[0],
        np.ascontiguousarray(level, np.int64),
        arrays[1],
        arrays[2],
        float(search_px[0]),
        float(search_px[1]),
        min_correlation,
        u_right,
        slope,
        sigma,
    )
    return u_right, slope, sigma


@numba.njit(cache=True, nogil=True)
def _measure_all(left, right, uv, level, guess, guess_sigma, least, most, min_correlation, u_right, slope, sigma):
    template = np.empty(SAMPLES)
    warp = np.empty(6)
    free = np.array([True, True, False, False, True, False])
    for i in range(len(uv)):
        zoom = 2.0 ** level[i]
        a, b = left[level[i]], right[level[i]]
        u, v = uv[i, 0] / zoom, uv[i, 1] / zoom
        warp[:] = np.array([1.0, 0.0, 0.0, 1.0, u, v])
        if not sample_window(a, warp, template):
            continue
        for attempt in range(2):
            near = attempt == 0
            if near and not (guess_sigma[i] < 4.0):
                continue
            reach = max(2.0, 3 * guess_sigma[i] / zoom)
            low, high = (guess[i] / zoom - reach, guess[i] / zoom + reach) if near else (least / zoom, most / zoom)
            # a second peak nearly as good means a repeated pattern: the guess then decides, without one the point is left mono
            found = best_on_row(a, b, u, v, low, high, 2.0 if near else 0.75)
            if np.isnan(found):
                continue
            warp[:] = np.array([1.0, 0.0, 0.0, 1.0, u - found, v])
            correlation, deviation = align(template, b, warp, free, 2.5, STEPS)
            if correlation >= min_correlation and u - warp[4] > 0 and abs(1 - warp[0]) < 0.7 and abs(warp[1]) < 0.7:
                u_right[i], sigma[i] = warp[4] * zoom, deviation * zoom
                slope[i, 0], slope[i, 1] = 1 - warp[0], -warp[1]
                break


@numba.njit(cache=True, nogil=True, fastmath=True)
def best_on_row(
    left: np.ndarray, right: np.ndarray, u: float, v: float, low: float, high: float, max_ratio: float
) -> float:
    """Disparity (px, in whole steps from u) of the best normalised correlation along the row, NaN without a clear one.

    `max_ratio`: (1 - best) / (1 - second best elsewhere) must stay below it.
    """
    r, (height, width) = SEARCH_RADIUS, left.shape
    iu, iv = round(u), round(v)
    if iu < r or iv < r or iu >= width - r or iv >= height - r:
        return np.nan
    first, last = max(int(np.floor(iu - high)), r), min(int(np.ceil(iu - low)), width - 1 - r)
    if last < first:
        return np.nan
    n = (2 * r + 1) ** 2
    mean_a, square_a = 0.0, 0.0
    for y in range(-r, r + 1):
        for x in range(-r, r + 1):
            mean_a += left[iv + y, iu + x]
            square_a += left[iv + y, iu + x] ** 2
    mean_a /= n
    spread_a = square_a - n * mean_a * mean_a
    score = np.empty(last - first + 1)
    for c in range(first, last + 1):
        sum_b, square_b, product = 0.0, 0.0, 0.0
        for y in range(-r, r + 1):
            for x in range(-r, r + 1):
                q = right[iv + y, c + x]
                sum_b += q
                square_b += q * q
                product += q * left[iv + y, iu + x]
        spread_b = square_b - sum_b * sum_b / n
        score[c - first] = (product - mean_a * sum_b) / np.sqrt(max(spread_a * spread_b, 1e-3))
    best = np.argmax(score)
    second = -1.0
    for c in range(len(score)):
        if abs(c - best) > 3 and score[c] > second:
            second = score[c]
    if score[best] < 0.5 or (1 - score[best] + NOISE_FLOOR) > max_ratio * (1 - second + NOISE_FLOOR):
        return np.nan
    return float(iu - (first + best))
