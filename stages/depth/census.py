"""Census cost between two rectified pictures: robust to gain, offset and white balance that differ between the eyes.

Zabih and Woodfill, "Non-parametric local transforms" (1994), in its ternary form: a neighbour counts as brighter or darker only when it
differs by more than the noise. In flat areas nothing differs, every disparity costs nothing, and the smoothness term decides instead
of the noise.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numba.extending import intrinsic

BORDER_COST = 24
"""Cost of a disparity whose match lies outside the right picture: a poor match, so that the border is neither forbidden nor free."""

# 30 neighbours of a 9x7 window in a staggered pattern: two bits each fit one 64-bit word.
OFFSETS = np.array(
    [(dy, dx) for dy in range(-3, 4) for dx in range(-4, 5) if (dy + dx) % 2 == 0 and (dy, dx) != (0, 0)][:32], np.int64
)


@intrinsic
def _popcount(typingctx, value):
    """Number of set bits: one vector instruction, where a shift-and-mask loop takes a dozen."""
    signature = nb.uint64(nb.uint64)
    return signature, lambda context, builder, sig, args: builder.ctpop(args[0])


@nb.njit(nogil=True, cache=True)
def census(image: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W) float32 picture -> (H, W) uint64 ternary census words; neighbours outside the picture repeat its border."""
    h, w = image.shape
    n = len(OFFSETS)  # a constant of the module: as a default argument it would be compiled anew in every process
    out = np.zeros((h, w), np.uint64)
    pad = np.empty((h + 6, w + 8), np.float32)
    for y in range(h + 6):
        source = min(max(y - 3, 0), h - 1)
        pad[y, 4 : w + 4] = image[source]
        pad[y, :4] = image[source, 0]
        pad[y, w + 4 :] = image[source, w - 1]
    for y in range(h):
        row = out[y]
        centre = image[y]
        for k in range(n):
            other = pad[y + 3 + OFFSETS[k, 0], 4 + OFFSETS[k, 1] : 4 + OFFSETS[k, 1] + w]
            bright, dark = np.uint64(1) << np.uint64(2 * k), np.uint64(2) << np.uint64(2 * k)
            for x in range(w):
                difference = other[x] - centre[x]
                row[x] |= (bright if difference > threshold else np.uint64(0)) | (
                    dark if difference < -threshold else np.uint64(0)
                )
    return out


@nb.njit(nogil=True, cache=True)
def hamming_volume(left: np.ndarray, right: np.ndarray, first: int, count: int) -> np.ndarray:
    """(H, W) census words of both eyes -> (H, W, count) uint8 number of differing bits for disparities first .. first + count - 1."""
    h, w = left.shape
    out = np.full((h, w, count), np.uint8(BORDER_COST), np.uint8)
    reverse = np.empty(w, np.uint64)
    for y in range(h):
        for x in range(w):
            reverse[x] = right[y, w - 1 - x]
        for x in range(max(first, 0), w):
            n = min(count, x - first + 1)
            match = reverse[w - 1 - x + first : w - 1 - x + first + n]  # disparity grows along the reversed row
            cost = out[y, x, :n]
            word = left[y, x]
            for k in range(n):
                cost[k] = np.uint8(_popcount(word ^ match[k]))
    return out
