"""Semi-global matching over a cost volume: eight paths, penalty for jumps lowered at picture edges, left-right check.

Hirschmueller, "Stereo processing by semiglobal matching and mutual information" (PAMI 2008), eq. 13. The loop over disparities is
contiguous in 16-bit integers, so that it becomes vector code; one pass goes down the picture and one up, four paths each, and only
the previous row of path costs is kept.
"""

from __future__ import annotations

import numba as nb
import numpy as np

_FAR = np.int16(20000)


def jump_penalties(small: int, large: int, contrast: float) -> np.ndarray:
    """(256,) int16 penalty of a disparity jump by grey-level step between neighbours: `large` in flat areas, falling towards `small`."""
    step = np.arange(256) / contrast
    return np.maximum(large / (1 + step), small + 2).astype(np.int16)


@nb.njit(nogil=True, cache=True, inline="always")
def _step(cost, previous, best, p1, p2, out, total):
    """One pixel of one path: `previous` and `out` hold count + 2 path costs (sentinels at both ends); returns the least of `out`."""
    n = cost.shape[0]
    here, below, above, target = previous[1 : n + 1], previous[0:n], previous[2 : n + 2], out[1 : n + 1]
    cap = np.int16(best + p2)
    least = _FAR
    for k in range(n):
        side = below[k] if below[k] < above[k] else above[k]
        side = np.int16(side + p1)
        value = here[k] if here[k] < side else side
        value = value if value < cap else cap
        value = np.int16(np.int16(value - best) + np.int16(cost[k]))
        target[k] = value
        total[k] = np.int16(total[k] + value)
        least = value if value < least else least
    return least


@nb.njit(nogil=True, cache=True)
def _sweep(volume, guide, p1, penalties, total, down):
    """Adds four paths (along the row, and from the three neighbours of the row before) to `total`."""
    h, w, n = volume.shape
    paths = np.full((2, 3, w + 2, n + 2), _FAR, np.int16)  # [row parity, path, x + 1, disparity + 1]
    least = np.zeros((2, 3, w + 2), np.int16)
    line = np.full((2, n + 2), _FAR, np.int16)
    fresh = np.full(n + 2, _FAR, np.int16)
    fresh[1 : n + 1] = 0
    for i in range(h):
        y = i if down else h - 1 - i
        y_before = y - 1 if down else y + 1
        now, before = i % 2, (i + 1) % 2
        line_least = np.int16(0)
        for j in range(w):
            x = j if down else w - 1 - j
            sum_ = total[y, x]
            cost = volume[y, x]
            step = abs(guide[y, x] - guide[y, x - 1 if down else x + 1]) if j > 0 else 0
            previous = line[(j + 1) % 2] if j > 0 else fresh
            line_least = _step(
                cost, previous, line_least if j > 0 else np.int16(0), p1, penalties[step], line[j % 2], sum_
            )
            for path in range(3):
                xs = x + path - 1
                inside = i > 0 and 0 <= xs < w
                step = abs(guide[y, x] - guide[y_before, xs]) if inside else 0
                previous = paths[before, path, xs + 1] if inside else fresh
                best = least[before, path, xs + 1] if inside else np.int16(0)
                least[now, path, x + 1] = _step(
                    cost, previous, best, p1, penalties[step], paths[now, path, x + 1], sum_
                )


def aggregate(volume: np.ndarray, guide: np.ndarray, p1: int, penalties: np.ndarray) -> np.ndarray:
    """(H, W, D) uint8 cost and (H, W) uint8 picture -> (H, W, D) int16 sum of eight path costs."""
    total = np.zeros(volume.shape, np.int16)
    _sweep(volume, guide.astype(np.int64), np.int16(p1), penalties, total=total, down=True)
    _sweep(volume, guide.astype(np.int64), np.int16(p1), penalties, total=total, down=False)
    return total


@nb.njit(nogil=True, cache=True)
def winners(total: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best disparity of left and right pixels, px, float32 (H, W) each, and the margin of the left winner.

    Left: sub-pixel by the parabola through the three costs round the least. Margin: how much dearer the best disparity more than one
    step away is, relative to the winner (0 = ambiguous).
    """
    h, w, n = total.shape
    left = np.empty((h, w), np.float32)
    right = np.full((h, w), np.nan, np.float32)
    margin = np.zeros((h, w), np.float32)
    for y in range(h):
        right_least = np.full(w, _FAR, np.int16)
        for x in range(w):
            cost = total[y, x]
            least = _FAR
            for k in range(n):
                least = cost[k] if cost[k] < least else least
            best = 0
            while cost[best] != least:
                best += 1
            second = _FAR
            for k in range(n):
                c = cost[k] if abs(k - best) > 1 else _FAR
                second = c if c < second else second
            margin[y, x] = (second - least) / (least + 1.0)
            shift = 0.0
            if 0 < best < n - 1:
                a, b = float(cost[best - 1] - least), float(cost[best + 1] - least)
                shift = (
                    0.5 * (a - b) / max(a, b) if max(a, b) > 0 else 0.0
                )  # equiangular: less pixel locking than a parabola
            left[y, x] = first + best + shift
            for k in range(min(n, x - first + 1)):
                if cost[k] < right_least[x - first - k]:
                    right_least[x - first - k] = cost[k]
                    right[y, x - first - k] = first + k
    return left, right, margin


@nb.njit(nogil=True, cache=True)
def left_right_consistent(left: np.ndarray, right: np.ndarray, tolerance_px: float) -> np.ndarray:
    """(H, W) bool: the right picture's disparity at the match agrees within the tolerance."""
    h, w = left.shape
    out = np.zeros((h, w), np.bool_)
    for y in range(h):
        for x in range(w):
            xr = int(np.rint(x - left[y, x]))
            out[y, x] = 0 <= xr < w and abs(right[y, xr] - left[y, x]) <= tolerance_px
    return out


@nb.njit(nogil=True, cache=True)
def fill_hidden(disparity: np.ndarray, known: np.ndarray, jump_px: float) -> np.ndarray:
    """(H, W) float32 disparities with unconfirmed runs mended along each row.

    Where a run lies between something behind (left, disparity a) and something in front (right, disparity b), the b - a pixels next to
    the left end are what only the left eye sees: they take a. The rest of the run, and runs without such a step, keep what matching
    said, except that what is nearer to a takes b.
    """
    h, w = disparity.shape
    out = disparity.copy()
    for y in range(h):
        x = 0
        while x < w:
            if known[y, x]:
                x += 1
                continue
            end = x
            while end < w and not known[y, end]:
                end += 1
            if 0 < x and end < w:
                a, b = disparity[y, x - 1], disparity[y, end]
                if b - a > jump_px:
                    for k in range(x, end):
                        if k - x < b - a:
                            out[y, k] = a
                        elif disparity[y, k] - a < b - disparity[y, k]:
                            out[y, k] = b
            x = end
    return out
