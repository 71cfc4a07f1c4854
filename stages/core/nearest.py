"""Nearest and second nearest among the rows of two tables, and back: what every matching of descriptors asks."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np


@dataclass(frozen=True)
class Nearest:
    """Of N rows against M columns: `best` (N,) column and its distance `nearest` (N,), the `second` least distance (N,); `back` (M,): the
    nearest row of each column. Of equal ones the first."""

    best: np.ndarray
    nearest: np.ndarray
    second: np.ndarray
    back: np.ndarray

    @property
    def mutual(self) -> np.ndarray:
        """(N,) bool: rows that are their nearest column's nearest."""
        return self.back[self.best] == np.arange(len(self.best))


def nearest_of(product: np.ndarray, of_row: np.ndarray, of_column: np.ndarray) -> Nearest:
    """By the distance of_row[i] + of_column[j] - 2 product[i, j], float32 all, M at least 2: squared lengths and products of descriptors.

    In one pass over the table, where numpy takes six; sums and comparisons are the same, in float32."""
    rows, columns = product.shape
    best, back = np.empty(rows, np.int64), np.empty(columns, np.int64)
    nearest, second = np.empty(rows, np.float32), np.empty(rows, np.float32)
    _search(product, of_row, of_column, best, nearest=nearest, second=second, back=back)
    return Nearest(best, nearest, second, back)


@nb.njit(nogil=True, cache=True)
def _search(product, of_row, of_column, best, nearest, second, back):
    rows, columns = product.shape
    of_back = np.full(columns, np.inf, np.float32)
    for i in range(rows):
        at, least, next_least = 0, np.float32(np.inf), np.float32(np.inf)
        for j in range(columns):
            distance = (of_row[i] + of_column[j]) - (product[i, j] + product[i, j])
            if distance < next_least:
                if distance < least:
                    at, least, next_least = j, distance, least
                else:
                    next_least = distance
            if distance < of_back[j]:
                of_back[j], back[j] = distance, i
        best[i], nearest[i], second[i] = at, least, next_least
