"""Work in several threads of ours leaves OpenBLAS one each, and its own back afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.blas_threads import _call, _loaded, set_blas_threads
from stages.core.parallel import ordered_map


def threads() -> list[int]:
    return [_call(library, "get") for library in _loaded()]


@pytest.fixture(autouse=True)
def three_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    before = threads()
    if not any(before):
        pytest.skip("this NumPy has no OpenBLAS")
    set_blas_threads(3)
    yield
    set_blas_threads(max(before))


def test_workers_have_one_each_and_afterwards_all_is_as_before():
    assert set(threads()) == {3}
    assert list(ordered_map(lambda k: set(threads()), range(4), 2)) == [{1}] * 4
    assert set(threads()) == {3}


def test_so_it_is_after_an_error():
    def fail(k: int) -> int:
        raise ValueError(k)

    with pytest.raises(ValueError, match="0"):
        list(ordered_map(fail, range(4), 2))
    assert set(threads()) == {3}


def test_one_worker_leaves_it_alone():
    assert list(ordered_map(lambda k: set(threads()), range(2), 1)) == [{3}] * 2
