"""Matching against brute-force twins."""

from __future__ import annotations

import numpy as np

from stages.track.links.descriptor_matching import match_guided, match_mutual
from stages.track.points.features import root, spread


def descriptors(rng: np.random.Generator, n: int) -> np.ndarray:
    return root(rng.gamma(0.5, 40, (n, 128)).astype(np.float32))


def brute_mutual(a: np.ndarray, b: np.ndarray, ratio: float) -> set[tuple[int, int]]:
    d = np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=2)
    out = set()
    for i in range(len(a)):
        j, second = np.argsort(d[i])[:2]
        if d[:, j].argmin() == i and d[i, j] < ratio * d[i, second]:
            out.add((i, int(j)))
    return out


def test_mutual_equals_brute_force():
    rng = np.random.default_rng(0)
    a = descriptors(rng, 80)
    b = np.clip(a[rng.permutation(80)[:60]].astype(int) + rng.integers(-12, 13, (60, 128)), 0, 255).astype(np.uint8)
    found = match_mutual(a, b, 0.85)
    assert {tuple(m) for m in found.tolist()} == brute_mutual(a, b, 0.85) and len(found) > 50


def test_nothing_to_match():
    some = descriptors(np.random.default_rng(0), 5)
    assert match_mutual(some[:0], some, 0.8).shape == (0, 2)
    assert match_guided(np.zeros((0, 2)), some[:0], np.zeros((5, 2)), some, 5, 0.8, 400).shape == (0, 2)


def test_guided_equals_brute_force_and_uses_each_point_once():
    rng = np.random.default_rng(1)
    n, radius, ratio, most = 150, 14.0, 0.9, 300.0
    a = descriptors(rng, n)
    uv = rng.uniform(-20, 200, (n, 2))
    b = np.clip(a.astype(int) + rng.integers(-25, 26, a.shape), 0, 255).astype(np.uint8)
    predicted = uv + rng.normal(0, 3, (n, 2))
    predicted[::17] = np.nan
    best: dict[int, tuple[float, int]] = {}
    for i in range(n):
        near = (
            np.flatnonzero(np.linalg.norm(uv - predicted[i], axis=1) <= radius)
            if np.isfinite(predicted[i]).all()
            else []
        )
        d = sorted((float(np.linalg.norm(a[i].astype(float) - b[j].astype(float))), int(j)) for j in near)
        if d and d[0][0] <= most and (len(d) == 1 or d[0][0] <= ratio * d[1][0]):
            best[d[0][1]] = min(best.get(d[0][1], (np.inf, -1)), (d[0][0], i))
    want = {(i, j) for j, (_, i) in best.items()}
    found = match_guided(predicted, a, uv, b, radius, ratio, most)
    assert {tuple(m) for m in found.tolist()} == want and len(want) > 100
    assert len(set(found[:, 1].tolist())) == len(found)


def test_spread_takes_the_strongest_of_every_cell_first():
    uv = np.array([[1, 1], [2, 2], [3, 3], [100, 100], [200, 10]], float)
    response = np.array([5, 9, 7, 1, 2], float)
    assert set(spread(uv, response, 3).tolist()) == {1, 3, 4}
    assert set(spread(uv, response, 4).tolist()) == {1, 2, 3, 4}
    assert spread(uv, response, 9).tolist() == [0, 1, 2, 3, 4]
