"""Matches between the points of two frames: by descriptor alone, or by descriptor near a predicted place."""

from __future__ import annotations

import numba
import numpy as np

from stages.core.nearest import nearest_of

CELL_PX = 16.0
"""cell of the grid that the guided search looks points up in"""


def match_mutual(a: np.ndarray, b: np.ndarray, ratio: float) -> np.ndarray:
    """(M, 2) int indices of mutually nearest descriptors (N, D) uint8 that pass Lowe's ratio test in a."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.int64)
    fa, fb = a.astype(np.float32), b.astype(np.float32)
    found = nearest_of(fa @ fb.T, (fa**2).sum(1), (fb**2).sum(1))
    keep = found.mutual & (found.nearest < ratio**2 * found.second)
    return np.column_stack([np.flatnonzero(keep), found.best[keep]])


def match_guided(
    predicted: np.ndarray,
    a: np.ndarray,
    uv: np.ndarray,
    b: np.ndarray,
    radius_px: float,
    ratio: float,
    max_distance: float,
) -> np.ndarray:
    """(M, 2) int matches between points whose place in the other picture is known to within `radius_px`.

    `predicted` (N, 2) is where the points of `a` (N, D) should lie in the other picture (NaN = unknown), `uv` (K, 2) where its points
    with descriptors `b` (K, D) are. Best within the radius, ratio test among those within it, and each point of b is used once.
    """
    if len(a) == 0 or len(b) == 0:
        return np.zeros((0, 2), np.int64)
    cell = np.floor(uv / CELL_PX).astype(np.int64)
    low = cell.min(0)
    columns, rows = cell.max(0) - low + 1
    key = (cell[:, 1] - low[1]) * columns + cell[:, 0] - low[0]
    order = np.argsort(key, kind="stable")
    start = np.searchsorted(key[order], np.arange(columns * rows + 1))
    best, distance = _nearest_in_reach(
        np.ascontiguousarray(predicted, np.float64),
        a,
        np.ascontiguousarray(uv, np.float64),
        b,
        order,
        start,
        low,
        columns,
        rows,
        radius_px,
        ratio**2,
        max_distance**2,
    )
    found = np.flatnonzero(best >= 0)
    found = found[np.lexsort((found, distance[found]))]
    _, first = np.unique(best[found], return_index=True)
    chosen = np.sort(found[first])
    return np.column_stack([chosen, best[chosen]])


@numba.njit(cache=True, nogil=True)
def _nearest_in_reach(predicted, a, uv, b, order, start, low, columns, rows, radius, ratio2, max2):
    best = np.full(len(a), -1, np.int64)
    best_distance = np.full(len(a), np.inf)
    for i in range(len(a)):
        pu, pv = predicted[i, 0], predicted[i, 1]
        if not (np.isfinite(pu) and np.isfinite(pv)):
            continue
        c0, c1 = int(np.floor((pu - radius) / CELL_PX)) - low[0], int(np.floor((pu + radius) / CELL_PX)) - low[0]
        r0, r1 = int(np.floor((pv - radius) / CELL_PX)) - low[1], int(np.floor((pv + radius) / CELL_PX)) - low[1]
        second = np.inf
        for r in range(max(r0, 0), min(r1, rows - 1) + 1):
            for c in range(max(c0, 0), min(c1, columns - 1) + 1):
                for s in range(start[r * columns + c], start[r * columns + c + 1]):
                    j = order[s]
                    if (uv[j, 0] - pu) ** 2 + (uv[j, 1] - pv) ** 2 > radius * radius:
                        continue
                    total = 0
                    for k in range(a.shape[1]):
                        d = int(a[i, k]) - int(b[j, k])
                        total += d * d
                    if total < best_distance[i]:
                        second = best_distance[i]
                        best_distance[i], best[i] = total, j
                    elif total < second:
                        second = total
        if best_distance[i] > max2 or best_distance[i] > ratio2 * second:
            best[i] = -1
    return best, best_distance
