"""Where along a ray the field is asked: a march by even steps of the cube through a grid that remembers the density.

Space is mapped to the unit cube in one of two ways. `bounded`: eyes and rays are given in the cube, and what lies outside is empty.
`contracted`: the ball of radius 1 round the origin fills the middle of the cube (|c| <= 1), and all that is outside the shell round it
(c = (2 - 1 / r) y / r, Barron et al. 2022), so that a scene without an end has one. Steps are even in the cube either way, and density
is counted by the cube's lengths.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.core.field.cube_rays import crossing, parts_of
from stages.core.field.hash_grid import HALF, KERNEL, ONE, ZERO

CELLS = 128
LEAST_CLEAR = np.float32(0.01)
"""light that is left where a march ends"""
TRUSTED = np.float32(0.3)
"""of the remembered density, which is a cell's highest of late: what lies behind is still asked until this much says that it is hidden"""
LEAST_PASS = np.float32(0.6)
"""of the light passes a sample at the least, by what is remembered: beside an edge a dense cell is mostly empty, and a ray that were ended
there would never learn what lies behind"""
FARTHEST = np.float32(300)
"""radii from the middle of a contracted space"""
QUARTER, TWO = np.float32(0.25), np.float32(2)
RUNS = 16
"""parts of a batch of rays; never a function of the number of threads"""


@njit(**KERNEL)
def contracted(x, y, z):
    """The unit cube's place of a point in radii from the middle."""
    r = np.sqrt(x * x + y * y + z * z)
    if r > ONE:
        k = (TWO - ONE / r) / r
        x, y, z = x * k, y * k, z * k
    return HALF + QUARTER * x, HALF + QUARTER * y, HALF + QUARTER * z


@njit(**KERNEL)
def _stretch(x, y, z, dx, dy, dz):
    """Length along a ray that is one length of the cube there, contracted."""
    r = np.sqrt(x * x + y * y + z * z)
    if r <= ONE:
        return np.float32(4)
    radial = (x * dx + y * dy + z * dz) / r
    across = (TWO - ONE / r) / r
    speed = np.sqrt(radial * radial / (r * r * r * r) + across * across * max(ZERO, ONE - radial * radial))
    return min(np.float32(4) / speed, np.float32(4) * r * r)


@njit(**KERNEL)
def march(eye, ray, jitter, step, near_t, is_contracted, density, gap, first, last, most, at, along):
    """Samples of the rays first .. last: `at (most, 3)` places in the cube, `along (most,)`; returns their number by ray, `counts`.

    `density (n, n, n)`: remembered, 0 = empty; `gap` uint8: of an empty cell, how many cells
    away the nearest is that is not. `jitter (R,)` 0..1.
    Rays past the one that would overflow `most` get none.
    """
    counts = np.zeros(last - first, np.int32)
    n, used = density.shape[0], 0
    cells, cell = np.float32(n), ONE / np.float32(n)
    for r in range(first, last):
        near, far = near_t, FARTHEST
        if not is_contracted:
            near, far = crossing(eye[r], ray[r])
            near = max(near, near_t)
        t, clear, here = near + jitter[r] * step, ONE, used
        dx, dy, dz = ray[r, 0], ray[r, 1], ray[r, 2]
        if is_contracted:
            t = near + jitter[r] * step * np.float32(4)
        while t < far:
            x, y, z = eye[r, 0] + t * dx, eye[r, 1] + t * dy, eye[r, 2] + t * dz
            scale = ONE
            if is_contracted:
                scale = _stretch(x, y, z, dx, dy, dz)
                if x * x + y * y + z * z > FARTHEST * FARTHEST:
                    break
                x, y, z = contracted(x, y, z)
            i, j, k = (
                min(max(int(x * cells), 0), n - 1),
                min(max(int(y * cells), 0), n - 1),
                min(max(int(z * cells), 0), n - 1),
            )
            known = density[i, j, k]
            if known == ZERO:
                free = np.float32(gap[i, j, k] - 1) * cell
                if free > step and not is_contracted:
                    t += (
                        np.float32(int(free / step)) * step
                    )  # whole steps: samples lie where they would without the jump
                else:
                    t += step * scale
                continue
            if used >= most:
                used = here  # this ray does not fit any more: it gets none
                break
            at[used, 0], at[used, 1], at[used, 2] = x, y, z
            along[used] = t
            used += 1
            clear *= max(np.exp(-TRUSTED * known * step), LEAST_PASS)
            if clear < LEAST_CLEAR:
                break
            t += step * scale
        counts[r - first] = used - here
    return counts


@njit(**KERNEL)
def chessboard_gap(density, gap, most):
    """`gap (n, n, n)` uint8: of each empty cell how many cells away the nearest is that is not, along the longest axis, at most `most`."""
    n = density.shape[0]
    for i in range(n):
        for j in range(n):
            for k in range(n):
                best = most
                if density[i, j, k] != ZERO:
                    best = 0
                else:
                    for di in range(-1, 1):
                        for dj in range(-1, 2):
                            for dk in range(-1, 2):
                                if di == 0 and (dj > 0 or (dj == 0 and dk >= 0)):
                                    continue
                                a, b, c = i + di, j + dj, k + dk
                                if 0 <= a < n and 0 <= b < n and 0 <= c < n:
                                    best = min(best, gap[a, b, c] + 1)
                gap[i, j, k] = best
    for i in range(n - 1, -1, -1):
        for j in range(n - 1, -1, -1):
            for k in range(n - 1, -1, -1):
                best = int(gap[i, j, k])
                for di in range(0, 2):
                    for dj in range(-1, 2):
                        for dk in range(-1, 2):
                            if di == 0 and (dj < 0 or (dj == 0 and dk <= 0)):
                                continue
                            a, b, c = i + di, j + dj, k + dk
                            if 0 <= a < n and 0 <= b < n and 0 <= c < n:
                                best = min(best, gap[a, b, c] + 1)
                gap[i, j, k] = best


def runs(count: int) -> list[tuple[int, int]]:
    """Runs (first, past the last) of a batch of rays."""
    return parts_of(count, RUNS)
