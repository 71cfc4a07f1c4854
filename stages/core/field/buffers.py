"""Work arrays that are used again and again: fresh ones would cost a page fault every 4 kB."""

from __future__ import annotations

import numpy as np

from stages.core.field.hash_grid import aligned_zeros


class BufferPool:
    """Lends float32 arrays with any content. Sizes are rounded up to powers of two, so that ever new batch sizes do not pile up."""

    def __init__(self) -> None:
        self._free: dict[int, list[np.ndarray]] = {}

    def take(self, rows: int, columns: int) -> np.ndarray:
        """A (rows, columns) array that starts on a cache line."""
        capacity = 1 << max(10, (rows * columns - 1).bit_length())
        free = self._free.setdefault(capacity, [])
        flat = free.pop() if free else aligned_zeros((capacity,))
        return flat[: rows * columns].reshape(rows, columns)

    def give(self, *arrays: np.ndarray) -> None:
        """Return arrays that `take` lent; nobody may use them after this."""
        for array in arrays:
            capacity = 1 << max(10, (array.size - 1).bit_length())
            owner = array.base
            assert owner is not None, "not an array that `take` lent"
            start = (array.ctypes.data - owner.ctypes.data) // array.itemsize
            self._free[capacity].append(owner[start : start + capacity])
