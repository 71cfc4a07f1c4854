"""The continuous cut: its kernel against the readable twin, and its optimum against exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stages.masks.cut.solver import edge_weights, energy, solve_cut, solve_cut_reference


@pytest.fixture
def problem(rng=None):
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 255, (23, 31, 3)).astype(np.float32)
    wx, wy = edge_weights(image, 2.0)
    return rng.normal(0, 1, (23, 31)).astype(np.float32), wx.astype(np.float32), wy.astype(np.float32)


def test_kernel_equals_its_readable_twin(problem):
    llr, wx, wy = problem
    start = (llr > 0).astype(np.float32)
    fast = solve_cut(llr, wx, wy, start, iterations=60, tolerance=0)
    slow = solve_cut_reference(llr, wx, wy, start, iterations=60)
    assert np.abs(fast - slow).max() < 1e-3


def test_kernel_equals_its_twin_on_a_band(problem):
    llr, wx, wy = problem
    start = (llr > 0).astype(np.float32)
    active = np.zeros(llr.shape, bool)
    active[5:16, 7:25] = True
    active[9, 12] = False
    fast = solve_cut(llr, wx, wy, start, active, iterations=60, tolerance=0)
    assert np.array_equal(fast[~active], start[~active])
    assert np.abs(fast - solve_cut_reference(llr, wx, wy, start, active, iterations=60)).max() < 1e-3


def test_energy_falls_and_the_threshold_keeps_most_of_it(problem):
    llr, wx, wy = problem
    start = (llr > 0).astype(np.float32)
    u = solve_cut(llr, wx, wy, start, iterations=800, tolerance=0)
    assert energy(u, llr, wx, wy) < energy(start, llr, wx, wy)
    assert energy((u > 0.5).astype(float), llr, wx, wy) < 0.6 * energy(u, llr, wx, wy) < 0


def test_optimum_of_a_line_is_the_exhaustive_one():
    """On one row the length is the number of label changes, and all labellings can be tried."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        llr = rng.normal(0, 1, (1, 10)).astype(np.float32)
        w = rng.uniform(0.2, 1.5, (1, 10)).astype(np.float32)
        u = solve_cut(llr, w, w, np.full((1, 10), 0.5), iterations=3000, tolerance=0)
        best = min(itertools.product((0.0, 1.0), repeat=10), key=lambda z: energy(np.array([z]), llr, w, w))
        assert np.array_equal(u[0] > 0.5, np.array(best) > 0.5)


def test_outline_follows_the_edge_not_the_noisy_evidence():
    """A disc with a sharp edge and evidence that is wrong for every third pixel."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :80]
    disc = (y - 40) ** 2 + (x - 38) ** 2 < 23**2
    image = np.where(disc[..., None], 180.0, 60.0) + rng.normal(0, 4, (80, 80, 3))
    llr = np.where(disc ^ (rng.uniform(size=disc.shape) < 0.33), 1.0, -1.0).astype(np.float32)
    u = solve_cut(llr, *edge_weights(image, 3.0), (llr > 0).astype(np.float32), iterations=400)
    assert ((u > 0.5) ^ disc).sum() < 8


def test_nothing_active_returns_the_start():
    start = np.eye(4, dtype=np.float32)
    ones = np.ones((4, 4), np.float32)
    assert np.array_equal(solve_cut(ones, ones, ones, start, np.zeros((4, 4), bool)), start)
