"""The kernel that matches descriptors finds what plain numpy finds, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.nearest import nearest_of


@pytest.mark.parametrize("shape", [(2, 2), (40, 300), (300, 41)])
@pytest.mark.parametrize("few_values", [True, False], ids=["many ties", "hardly any"])
def test_nearest_and_second_are_those_of_plain_numpy(shape, few_values):
    rng = np.random.default_rng(7)
    a, b = (rng.integers(0, 3 if few_values else 256, (n, 4 if few_values else 128)).astype(np.float32) for n in shape)
    found = nearest_of(a @ b.T, (a**2).sum(1), (b**2).sum(1))
    distance = ((a[:, None] - b[None]) ** 2).sum(2)
    rows = np.arange(len(a))
    best = distance.argmin(1)
    np.testing.assert_array_equal(found.best, best)
    np.testing.assert_array_equal(found.nearest, distance[rows, best])
    np.testing.assert_array_equal(found.back, distance.argmin(0))
    np.testing.assert_array_equal(found.mutual, distance.argmin(0)[best] == rows)
    np.testing.assert_array_equal(found.second, np.sort(distance, axis=1)[:, 1])
