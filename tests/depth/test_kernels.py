"""Each kernel against a slow twin that can be read at a glance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from stages.depth import thin_plate
from stages.depth.census import BORDER_COST, OFFSETS, census, hamming_volume
from stages.depth.photometry import noise_level, spline_coefficients, spline_rows
from stages.depth.posterior import posterior_sigma
from stages.depth.refine import links, visible_in_right
from stages.depth.semi_global import aggregate, fill_hidden, jump_penalties, winners


def test_census_and_hamming_match_the_definition() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 255, (2, 9, 20)).astype(np.float32)
    words = census(left, 5.0), census(right, 5.0)
    volume = hamming_volume(*words, 2, 6)
    pad = [np.pad(i, 4, mode="edge") for i in (left, right)]

    def signs(p, y, x):
        return [
            int(np.sign(v) * (abs(v) > 5)) for dy, dx in OFFSETS for v in [p[y + 4 + dy, x + 4 + dx] - p[y + 4, x + 4]]
        ]

    for y, x, k in ((4, 10, 0), (0, 19, 5), (8, 7, 3)):
        a, b = signs(pad[0], y, x), signs(pad[1], y, x - 2 - k)
        assert volume[y, x, k] == sum(abs(i - j) for i, j in zip(a, b, strict=True))
    assert volume[3, 1, 0] == BORDER_COST and volume[3, 4, 3] == BORDER_COST


def _slow_sgm(volume: np.ndarray, guide: np.ndarray, p1: int, penalties: np.ndarray) -> np.ndarray:
    h, w, n = volume.shape
    total = np.zeros(volume.shape, int)
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1), (0, -1), (-1, 1), (-1, 0), (-1, -1)):
        path = np.zeros(volume.shape, int)
        ys = range(h) if dy >= 0 else range(h - 1, -1, -1)
        xs = range(w) if dx >= 0 else range(w - 1, -1, -1)
        for y in ys:
            for x in xs:
                path[y, x] = volume[y, x]
                b, a = y - dy, x - dx
                if not (0 <= b < h and 0 <= a < w):
                    continue
                before = path[b, a]
                p2 = penalties[abs(int(guide[y, x]) - int(guide[b, a]))]
                side = np.full(n, 10**6)
                side[1:] = before[:-1]
                side[:-1] = np.minimum(side[:-1], before[1:])
                path[y, x] += np.minimum(np.minimum(before, side + p1), before.min() + p2) - before.min()
        total += path
    return total


def test_semi_global_paths_match_the_recursion() -> None:
    rng = np.random.default_rng(1)
    volume = rng.integers(0, 60, (7, 9, 11)).astype(np.uint8)
    guide = rng.integers(0, 255, (7, 9)).astype(np.uint8)
    penalties = jump_penalties(9, 140, 60.0)
    np.testing.assert_array_equal(aggregate(volume, guide, 9, penalties), _slow_sgm(volume, guide, 9, penalties))


def test_winners_find_both_eyes_minimum() -> None:
    rng = np.random.default_rng(2)
    total = rng.integers(0, 900, (5, 24, 8)).astype(np.int16)
    left, right, margin = winners(total, 3)
    assert np.abs(left - (3 + total.argmin(2))).max() <= 0.5
    for y, x in ((0, 2), (4, 10)):
        costs = [total[y, x + 3 + k, k] if x + 3 + k < 24 else 10**6 for k in range(8)]
        assert right[y, x] == 3 + int(np.argmin(costs))
    assert (margin >= 0).all()


def test_splines_pass_through_and_interpolate() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(4, 120)).cumsum(1).astype(np.float32)
    c = spline_coefficients(rows)
    value, _ = spline_rows(c, np.zeros_like(rows))
    np.testing.assert_allclose(value, rows, atol=1e-4)
    value, slope = spline_rows(c, np.full_like(rows, 2.37))
    reference = [CubicSpline(np.arange(120), r) for r in rows]
    where = np.arange(30, 90)
    np.testing.assert_allclose(value[:, where], [r(where - 2.37) for r in reference], atol=1e-4)
    np.testing.assert_allclose(slope[:, where], [r(where - 2.37, 1) for r in reference], atol=1e-4)
    assert np.isnan(value[:, :2]).all()


def _plate_matrix(information, link_x, link_y, tension, stiffness):
    """Dense twin of the plate's system matrix: a sum of weighted outer products of differences."""
    h, w = information.shape
    index = np.arange(h * w).reshape(h, w)
    a = np.diag(information.ravel().astype(float))

    def add(weight, cells, signs):
        a[np.ix_(cells, cells)] += weight * np.outer(signs, signs)

    for y in range(h):
        for x in range(w):
            if x + 1 < w:
                add(tension * link_x[y, x], index[y, x : x + 2], (-1, 1))
            if y + 1 < h:
                add(tension * link_y[y, x], index[y : y + 2, x], (-1, 1))
            if 0 < x < w - 1:
                add(stiffness * link_x[y, x - 1] * link_x[y, x], index[y, x - 1 : x + 2], (1, -2, 1))
            if 0 < y < h - 1:
                add(stiffness * link_y[y - 1, x] * link_y[y, x], index[y - 1 : y + 2, x], (1, -2, 1))
            if x + 1 < w and y + 1 < h:
                corner = link_x[y, x] * link_x[y + 1, x] * link_y[y, x] * link_y[y, x + 1]
                add(2 * stiffness * corner, index[y : y + 2, x : x + 2].ravel(), (1, -1, -1, 1))
    return a


def _plate_case():
    rng = np.random.default_rng(4)
    shape = (12, 14)
    link_x, link_y = (rng.random(shape) > 0.15).astype(np.float32), (rng.random(shape) > 0.15).astype(np.float32)
    link_x[:, -1] = link_y[-1] = 0  # as `links` makes them: nothing lies beyond the border
    information = (rng.random(shape) * (rng.random(shape) > 0.3) + 0.01).astype(np.float32)
    return information, link_x, link_y, rng.normal(10, 3, shape).astype(np.float32)


def test_plate_operator_is_the_dense_one() -> None:
    information, link_x, link_y, d = _plate_case()
    out = np.empty_like(d)
    weights = thin_plate.link_weights(link_x, link_y)
    thin_plate.apply_plate(d, information, link_x, link_y, *weights, 0.3, 7.0, out)
    dense = _plate_matrix(information, link_x, link_y, 0.3, 7.0)
    np.testing.assert_allclose(out.ravel(), dense @ d.ravel(), rtol=2e-4, atol=2e-3)
    np.testing.assert_allclose(
        thin_plate._diagonal(information, link_x, link_y, *weights, 0.3, 7.0).ravel(), np.diag(dense), rtol=1e-5
    )


def test_plate_solution_is_the_linear_one() -> None:
    information, link_x, link_y, target = _plate_case()
    weights = thin_plate.link_weights(link_x, link_y)
    found = thin_plate.relax(target, target, information, link_x, link_y, *weights, 0.3, 7.0, 400)
    dense = _plate_matrix(information + 1e-6, link_x, link_y, 0.3, 7.0)
    exact = np.linalg.solve(dense, ((information + 1e-6) * target).ravel())
    np.testing.assert_allclose(found.ravel(), exact, atol=5e-3)


def test_plate_continues_a_plane_into_a_hole_and_not_across_an_edge() -> None:
    y, x = np.mgrid[:64, :96].astype(np.float32)
    truth = np.where(x < 48, 10 + 0.1 * x + 0.05 * y, 60.0).astype(np.float32)
    information = np.ones_like(truth)
    hole = (np.abs(x - 25) < 10) & (np.abs(y - 30) < 10)
    information[hole] = 0
    start = np.where(hole, np.float32(12), truth)
    link_x, link_y = links(truth, np.full(truth.shape, 2, np.float32))
    found = thin_plate.solve(start, information, link_x, link_y, thin_plate.Plate(0.001, 1000.0))
    assert np.abs(found - truth)[hole].max() < 0.15
    assert np.abs(found - truth)[~hole].max() < 0.15


def test_posterior_sigma_is_the_inverse_diagonal_on_a_homogeneous_plane() -> None:
    shape, info, stiffness = (40, 40), 0.02, 50.0
    ones = np.ones(shape, np.float32)
    dense = _plate_matrix(np.full(shape, info), ones, ones, 0.0, stiffness)
    exact = np.sqrt(np.linalg.inv(dense)[20 * 40 + 20, 20 * 40 + 20])
    found = posterior_sigma(np.full(shape, info, np.float32), np.full(shape, stiffness, np.float32), ones, ones)[20, 20]
    assert found == pytest.approx(exact, rel=0.15)


def test_posterior_sigma_grows_into_a_blank_area() -> None:
    information = np.full((128, 128), 0.5, np.float32)
    information[32:96, 32:96] = 0
    ones = np.ones_like(information)
    sigma = posterior_sigma(information, 400 * ones, ones, ones)
    free_disc = np.sqrt(32**2 / (16 * np.pi * 400))
    assert 0.6 * free_disc < sigma[64, 64] < 2 * free_disc
    assert sigma[64, 64] > 1.5 * sigma[10, 10]


def test_what_only_the_left_eye_sees_takes_the_background() -> None:
    row = np.r_[np.full(10, 5.0), np.full(20, 17.0), np.full(10, 17.0)].astype(np.float32)[None]
    known = np.ones_like(row, bool)
    known[0, 10:30] = False
    filled = fill_hidden(row, known, 4.0)[0]
    np.testing.assert_array_equal(filled[10:22], 5.0)
    np.testing.assert_array_equal(filled[22:], 17.0)
    nothing_nearer = fill_hidden(row[:, ::-1].copy(), known[:, ::-1].copy(), 4.0)[0]
    np.testing.assert_array_equal(nothing_nearer, row[0, ::-1])


def test_hidden_pixels_are_found_and_a_steep_surface_hides_nothing() -> None:
    d = np.full((1, 80), 4.0, np.float32)
    d[0, 40:60] = 14.0
    assert (~visible_in_right(d, 1.0)[0, 30:40]).all() and visible_in_right(d, 1.0)[0, 40:80].all()
    steep = (10 + 0.6 * np.arange(60, dtype=np.float32))[None]
    assert visible_in_right(steep, 1.0)[0, 30:].all()


@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_noise_level_sees_noise_and_not_texture(sigma: float) -> None:
    rng = np.random.default_rng(5)
    image = np.full((240, 320), 100.0)
    image[:80] += 60 * (rng.random((80, 320)) > 0.5)
    assert noise_level(image + rng.normal(0, sigma, image.shape)) == pytest.approx(sigma, rel=0.15)
