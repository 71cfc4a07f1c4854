"""Multi-resolution hash grid (Mueller et al., Instant Neural Graphics Primitives, 2022): layout and kernels on blocks of points.

Layout, identical to tiny-cuda-nn's HashGrid so that parameters convert by reshaping:
- level l has scale_l = base * growth^l - 1 and resolution_l = ceil(scale_l) + 1; a point x in [0,1] lies at x * scale_l + 0.5 cells;
- a level holds min(resolution^3 rounded up to 8, 2^log2_entries) entries of two features, levels one after another;
- dense index x + y R + z R^2 (wrapped once at the end) where R^3 fits, else (x ^ 2654435761 y ^ 805459861 z) mod 2^log2_entries.
One difference: scales are computed in float64 here and in float32 there, so they differ by up to 1e-6 of their value (a thousandth of a
cell at 2048); field.json therefore lists them.

Symbols: B = BLOCK points are worked on together; arrays over a block are flat, one run of B values per quantity ("row"), so that the
inner loops run over points and vectorise. `xs` are clamped positions (3 rows), `enc` the encoding (2 rows a level, feature 0 first).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.core.field.prefetch import prefetch

BLOCK = 128
FEATURES = 2
LINE = 8  # entries in a 64-byte cache line: the unit in which touched entries are flagged
PRIME_Y, PRIME_Z = 2654435761, 805459861
ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
FAST = {"reassoc", "contract", "arcp", "nsz"}  # not nnan: a NaN position must stay harmless
KERNEL = {"nogil": True, "cache": True, "fastmath": FAST, "error_model": "numpy"}
# Starts of rows. Unsigned, as every index of an inner loop must be: for signed ones numba adds Python's wrap-around of negative indices,
# and LLVM then gathers where it could load (measured: 15 instead of 104 GFLOP/s in the matrix product).
R1, R2, R3, R4, R5, R6, R7, R8 = (np.uint64(k * BLOCK) for k in range(1, 9))


@dataclass(frozen=True)
class GridLayout:
    """Tables by level: `scale` float32, `resolution`, `offset` (first entry), `size` (entries) int64, `hashed` bool."""

    scale: np.ndarray
    resolution: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    hashed: np.ndarray

    @staticmethod
    def of(levels: int, log2_entries: int, base_resolution: int, finest_resolution: int) -> GridLayout:
        """Levels in geometric progression from the base to the finest resolution (cells along an edge of the cube)."""
        log2_growth = math.log2(finest_resolution / base_resolution) / (levels - 1) if levels > 1 else 0.0
        scale = np.exp2(np.arange(levels) * log2_growth) * base_resolution - 1
        return GridLayout.from_scales(scale.astype(np.float32), log2_entries)

    @staticmethod
    def from_scales(scale: np.ndarray, log2_entries: int) -> GridLayout:
        """What follows from the levels' scales (L,) float32."""
        resolution = np.ceil(scale).astype(np.int64) + 1
        dense = -(-(resolution**3) // LINE) * LINE
        size = np.minimum(dense, 1 << log2_entries)
        return GridLayout(scale, resolution, np.cumsum(size) - size, size, hashed=dense > size)

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.scale)

    @property
    def entries(self) -> int:
        """Entries of all levels."""
        return int(self.offset[-1] + self.size[-1])

    def part(self, array: np.ndarray, level: int) -> np.ndarray:
        """The rows of one level of an array over all entries."""
        return array[self.offset[level] : self.offset[level] + self.size[level]]

    def place(self, level: int) -> tuple:
        """(scale, resolution, size, hashed) of one level, as the kernels take them."""
        return self.scale[level], self.resolution[level], self.size[level], self.hashed[level]


def aligned_zeros(shape: tuple[int, ...], align: int = 64) -> np.ndarray:
    """float32 zeros whose first byte starts a cache line."""
    count = int(np.prod(shape))
    raw = np.zeros(count + align // 4, np.float32)
    skip = (-raw.ctypes.data % align) // 4
    return raw[skip : skip + count].reshape(shape)


@njit(**KERNEL)
def load_positions(x, first, count, xs):
    """Rows of clamped coordinates of x[first : first + count]; NaN becomes 0, points past `count` are the centre of the cube."""
    for axis in range(3):
        for p in range(count):
            v = x[first + p, axis]
            v = v if v > ZERO else ZERO
            xs[axis * BLOCK + p] = v if v < ONE else ONE
        for p in range(count, BLOCK):
            xs[axis * BLOCK + p] = HALF


@njit(**KERNEL)
def locate(xs, scale, resolution, size, hashed, fraction, index):
    """Cell of each point at one level: `fraction` (3 rows, float32) inside it and `index` (8 rows, uint32) of its corners, x fastest."""
    for k in range(R3):
        at = xs[k] * scale + HALF
        cell = np.int32(at)
        fraction[k] = at - np.float32(cell)
        index[k] = np.uint32(cell)
    if hashed:
        mask, prime_y, prime_z = np.uint32(size - 1), np.uint32(PRIME_Y), np.uint32(PRIME_Z)
        for p in range(R1):
            x, y, z = index[p], index[R1 + p], index[R2 + p]
            y0, z0 = np.uint32(y * prime_y), np.uint32(z * prime_z)
            y1, z1, x1 = np.uint32(y0 + prime_y), np.uint32(z0 + prime_z), np.uint32(x + np.uint32(1))
            a, b, c, d = y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1
            index[p] = (x ^ a) & mask
            index[R1 + p] = (x1 ^ a) & mask
            index[R2 + p] = (x ^ b) & mask
            index[R3 + p] = (x1 ^ b) & mask
            index[R4 + p] = (x ^ c) & mask
            index[R5 + p] = (x1 ^ c) & mask
            index[R6 + p] = (x ^ d) & mask
            index[R7 + p] = (x1 ^ d) & mask
    else:
        step_y, step_z, end = np.uint32(resolution), np.uint32(resolution * resolution), np.uint32(size)
        for p in range(R1):
            index[p] = index[p] + index[R1 + p] * step_y + index[R2 + p] * step_z
        for corner in range(np.uint64(7), np.uint64(0), -1):
            away = np.uint32(corner & 1) + np.uint32((corner >> 1) & 1) * step_y + np.uint32(corner >> 2) * step_z
            row = np.uint64(corner * BLOCK)
            for p in range(R1):
                at = np.uint32(index[p] + away)
                index[row + p] = at if at < end else np.uint32(at - end)
        for p in range(R1):
            at = index[p]
            index[p] = at if at < end else np.uint32(at - end)


@njit(**KERNEL)
def fetch_corners(table, index):
    """Prefetch the entries of a block. The corners with the higher x lie in the same cache lines seven times of eight."""
    for row in (np.uint64(0), R2, R4, R6):
        for p in range(R1):
            prefetch(table, index[row + p] * np.uint64(FEATURES))


@njit(**KERNEL)
def interpolate(table, fraction, index, weight, enc, row):
    """Trilinear features of one level times `weight` into rows `row`, `row` + 1 of the encoding."""
    out = np.uint64(row * BLOCK)
    for p in range(R1):
        fx, fy, fz = fraction[p], fraction[R1 + p], fraction[R2 + p]
        gx, gy, gz = ONE - fx, ONE - fy, (ONE - fz) * weight
        hz = fz * weight
        a, b, c, d = gy * gz, fy * gz, gy * hz, fy * hz
        i0, i1, i2, i3 = index[p], index[R1 + p], index[R2 + p], index[R3 + p]
        i4, i5, i6, i7 = index[R4 + p], index[R5 + p], index[R6 + p], index[R7 + p]
        low0 = table[i0, 0] * a + table[i2, 0] * b + table[i4, 0] * c + table[i6, 0] * d
        low1 = table[i0, 1] * a + table[i2, 1] * b + table[i4, 1] * c + table[i6, 1] * d
        high0 = table[i1, 0] * a + table[i3, 0] * b + table[i5, 0] * c + table[i7, 0] * d
        high1 = table[i1, 1] * a + table[i3, 1] * b + table[i5, 1] * c + table[i7, 1] * d
        enc[out + p] = low0 * gx + high0 * fx
        enc[out + R1 + p] = low1 * gx + high1 * fx


@njit(**KERNEL)
def scatter(grad, touched, fraction, index, weight, d_enc, row, count):
    """Adjoint of `interpolate`: adds to `grad` and flags the cache lines of the entries it changed."""
    from_row, line = np.uint64(row * BLOCK), np.uint64(LINE)
    for p in range(np.uint64(count)):
        fx, fy, fz = fraction[p], fraction[R1 + p], fraction[R2 + p]
        gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
        d0, d1 = d_enc[from_row + p] * weight, d_enc[from_row + R1 + p] * weight
        if d0 == ZERO and d1 == ZERO:
            continue
        low, high = gx, fx
        for corner in range(4):
            side = (fy if corner & 1 else gy) * (fz if corner & 2 else gz)
            even = np.uint64(2 * corner * BLOCK)
            i, j = index[even + p], index[even + R1 + p]
            w, v = side * low, side * high
            grad[i, 0] += w * d0
            grad[i, 1] += w * d1
            grad[j, 0] += v * d0
            grad[j, 1] += v * d1
            touched[i // line] = 1
            touched[j // line] = 1


@njit(**KERNEL)
def add_position_gradient(table, fraction, index, scale, weight, d_enc, row, d_xs):
    """Adds d_enc^T d enc / d x of one level to `d_xs` (3 rows)."""
    from_row = np.uint64(row * BLOCK)
    for p in range(R1):
        fx, fy, fz = fraction[p], fraction[R1 + p], fraction[R2 + p]
        gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
        d0, d1 = d_enc[from_row + p] * weight * scale, d_enc[from_row + R1 + p] * weight * scale
        i0, i1, i2, i3 = index[p], index[R1 + p], index[R2 + p], index[R3 + p]
        i4, i5, i6, i7 = index[R4 + p], index[R5 + p], index[R6 + p], index[R7 + p]
        v0 = table[i0, 0] * d0 + table[i0, 1] * d1
        v1 = table[i1, 0] * d0 + table[i1, 1] * d1
        v2 = table[i2, 0] * d0 + table[i2, 1] * d1
        v3 = table[i3, 0] * d0 + table[i3, 1] * d1
        v4 = table[i4, 0] * d0 + table[i4, 1] * d1
        v5 = table[i5, 0] * d0 + table[i5, 1] * d1
        v6 = table[i6, 0] * d0 + table[i6, 1] * d1
        v7 = table[i7, 0] * d0 + table[i7, 1] * d1
        d_xs[p] += ((v1 - v0) * gy + (v3 - v2) * fy) * gz + ((v5 - v4) * gy + (v7 - v6) * fy) * fz
        d_xs[R1 + p] += ((v2 - v0) * gx + (v3 - v1) * fx) * gz + ((v6 - v4) * gx + (v7 - v5) * fx) * fz
        d_xs[R2 + p] += ((v4 - v0) * gx + (v5 - v1) * fx) * gy + ((v6 - v2) * gx + (v7 - v3) * fx) * fy
