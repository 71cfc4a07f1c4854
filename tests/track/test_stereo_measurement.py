"""The right eye's measurement on pictures whose disparity is known."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from stages.track.points.stereo_measurement import LEVELS, best_on_row, level_of, measure_right, pyramid, usable_levels


def pair(slope: float = 0.0, disparity: float = 20.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(left, right) uint8 160x240: the left picture shows at (x, y) what the right shows at x - disparity - slope (x - 120)."""
    noise = np.random.default_rng(seed).normal(size=(160, 280)).astype(np.float32)
    right = 128 + 170 * cv2.GaussianBlur(noise, (0, 0), 1.6)[:, :240]
    y, x = np.mgrid[:160, :240].astype(float)
    left = map_coordinates(right, [y, x - disparity - slope * (x - 120)], order=3, mode="nearest")
    return tuple(np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in (left, right))


def points() -> np.ndarray:
    x, y = np.meshgrid(np.arange(70, 200, 13.0), np.arange(20, 140, 11.0))
    return np.column_stack([x.ravel() + 0.3, y.ravel() - 0.2])


def measure(left, right, uv, guess, sigma, search=(5.0, 60.0), level=0):
    n = len(uv)

    def fill(v):
        return np.full(n, v, float)

    return measure_right(pyramid(left), pyramid(right), uv, np.full(n, level), fill(guess), fill(sigma), search, 0.75)


def test_fronto_parallel_disparity_to_a_fiftieth_of_a_pixel():
    left, right = pair()
    uv = points()
    u_right, slope, sigma = measure(left, right, uv, np.nan, np.nan)
    error = uv[:, 0] - u_right - 20.3
    assert np.isfinite(error).mean() > 0.95
    assert abs(np.nanmedian(error)) < 0.01 and np.nanpercentile(np.abs(error), 90) < 0.05
    assert np.nanmedian(np.abs(slope)) < 0.01 and np.nanmax(sigma) < 0.1


def test_slanted_surface_gives_its_slope():
    left, right = pair(slope=0.12)
    uv = points()
    u_right, slope, _ = measure(left, right, uv, 20.0, 2.0)
    error = uv[:, 0] - u_right - (20.3 + 0.12 * (uv[:, 0] - 120))
    assert np.nanpercentile(np.abs(error), 90) < 0.06
    assert abs(np.nanmedian(slope[:, 0]) - 0.12) < 0.01 and abs(np.nanmedian(slope[:, 1])) < 0.01


def test_a_wrong_guess_is_overruled_by_the_search():
    left, right = pair()
    u_right, _, _ = measure(left, right, points(), 45.0, 0.3)
    assert np.nanmedian(np.abs(points()[:, 0] - u_right - 20.3)) < 0.02


def test_repeated_pattern_is_left_out_without_a_guess_and_measured_with_one():
    stripes = np.tile(np.where(np.arange(240) % 12 < 6, 200, 60), (160, 1)).astype(np.uint8)
    pattern = cv2.GaussianBlur(stripes, (0, 0), 1.0)
    right = np.roll(pattern, -24, axis=1)
    uv = points()
    assert np.isfinite(measure(pattern, right, uv, np.nan, np.nan)[0]).mean() < 0.05
    u_right, _, _ = measure(pattern, right, uv, 24.0, 0.5)
    assert np.nanmedian(np.abs(uv[:, 0] - u_right - 24)) < 0.05


def test_flat_picture_gives_nothing():
    flat = np.full((160, 240), 120, np.uint8)
    assert not np.isfinite(measure(flat, flat, points(), 20.0, 1.0)[0]).any()


def test_coarse_points_are_measured_higher_up():
    left, right = pair()
    uv = points()
    u_right, _, _ = measure(left, right, uv, np.nan, np.nan, level=1)
    assert np.nanmedian(np.abs(uv[:, 0] - u_right - 20.3)) < 0.1


def test_levels_follow_scale_and_picture():
    assert level_of(np.array([1.0, 2.5, 5.0, 11.0, 90.0]), (720, 1280)).tolist() == [0, 0, 1, 2, LEVELS - 1]
    assert usable_levels((40, 60)) == 1 and level_of(np.array([50.0]), (40, 60)).tolist() == [0]


def test_row_search_equals_its_slow_twin():
    left, right = (p.astype(np.float32) for p in pair(seed=4))
    r = 5

    def correlation(u: int, v: int, c: int) -> float:
        a, b = left[v - r : v + r + 1, u - r : u + r + 1].ravel(), right[v - r : v + r + 1, c - r : c + r + 1].ravel()
        return float(np.corrcoef(a, b)[0, 1])

    for u, v in ((100, 60), (150, 90), (180, 33)):
        slow = max(range(u - 50, u - 9), key=lambda c, u=u, v=v: correlation(u, v, c))
        assert best_on_row(left, right, u, v, 10.0, 50.0, 2.0) == u - slow
