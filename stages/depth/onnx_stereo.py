"""Disparity from a stereo network: scale and bands by resolution, a second pass for the right picture, sigma from how both agree.

Networks of the FoundationStereo family (Wen et al., CVPR 2025 and 2026) give one disparity per pixel and no confidence. The pair mirrored
and exchanged is a stereo pair again, whose disparity belongs to the right picture. Where both estimates have independent errors of
standard deviation s, their difference has variance 2 s^2: half its local mean square is the variance stated, above a floor for what both
passes get wrong alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from stages.depth.onnx_contract import Contract
from stages.depth.seed import disparity_range
from stages.depth.stereo import Estimate, enlarged, level_of, resized

_OVERLAP_PX = 64
"""Rows that neighbouring bands share: beyond it the context of a band's edge is cross-faded away."""
_WINDOW_PX = 9
"""Side of the square over which the difference of both passes is averaged: fewer pixels would call an accidental agreement certain."""

_SEARCH_PIXELS = 120_000
"""Size at which the largest disparity is looked for."""

Network = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Plan:
    """At which size the network sees a picture, and in how high bands (full width, because disparity runs along rows)."""

    scale: float
    """size of the network's picture over that of the picture"""
    band_rows: int


@dataclass(frozen=True)
class OnnxStereo:
    """A network (NCHW float32 pair -> (H, W) disparity) as a matcher of full pictures."""

    network: Network
    contract: Contract
    fixed_size: tuple[int, int] | None
    megapixels: float
    band_megapixels: float
    left_right_px: float
    """of the network's picture; `floor_px` too"""
    floor_px: float

    def __call__(self, left_rgb: np.ndarray, right_rgb: np.ndarray) -> Estimate:
        """(H, W, 3) uint8 rectified pair -> estimate at the same size; NaN where both passes disagree or the right eye sees nothing."""
        h, w = left_rgb.shape[:2]
        plan = self.plan(h, w, largest_disparity(left_rgb, right_rgb) if self.contract.max_disparity_px else 0.0)
        left, right = resized(left_rgb, right_rgb, plan.scale)
        d_left = self._in_bands(left, right, plan.band_rows)
        d_right = self._in_bands(right[:, ::-1], left[:, ::-1], plan.band_rows)[:, ::-1]
        estimate = judge(d_left, d_right, self.left_right_px, self.floor_px)
        full = enlarged(estimate, (h, w))
        known = full.disparity_px[np.isfinite(full.disparity_px)]
        found = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        return Estimate(full.disparity_px, full.sigma_px, found, float("nan"))

    def plan(self, height: int, width: int, largest_px: float = 0.0) -> Plan:
        """For pictures of this size, of which `largest_px` is the largest disparity (0 = not asked)."""
        reach = self.contract.max_disparity_px
        fitting = reach / largest_px if reach and largest_px > reach else 1.0
        if self.fixed_size is not None:
            return Plan(min(fitting, self.fixed_size[1] / width), self.fixed_size[0])
        scale = min(fitting, float(np.sqrt(self.megapixels * 1e6 / (height * width))))
        if self.contract.best_width_px:
            scale = min(scale, self.contract.best_width_px / width)
        return Plan(scale, band_rows(round(width * scale), self.band_megapixels, self.contract.multiple))

    def _in_bands(self, left: np.ndarray, right: np.ndarray, rows: int) -> np.ndarray:
        """(h, w, 3) float32 -> (h, w) float32; bands cross-faded over what they share."""
        h, w = left.shape[:2]
        total, weight = np.zeros((h, w), np.float32), np.zeros((h, 1), np.float32)
        for first, last in bands(h, rows):
            d = self.network(*(self._input(i[first:last]) for i in (left, right)))[: last - first, :w]
            fade = _fade(last - first, first > 0, last < h)[:, None]
            total[first:last] += d * fade
            weight[first:last] += fade
        return total / weight

    def _input(self, rgb: np.ndarray) -> np.ndarray:
        """(h, w, 3) grey levels -> (1, 3, H, W) as the contract says, edges repeated on the right and below."""
        height, width = self.fixed_size or (None, None)
        m = self.contract.multiple
        down = (height or -(-rgb.shape[0] // m) * m) - rgb.shape[0]
        across = (width or -(-rgb.shape[1] // m) * m) - rgb.shape[1]
        picture = cv2.copyMakeBorder(np.ascontiguousarray(rgb), 0, down, 0, across, cv2.BORDER_REPLICATE)
        picture = (picture - np.array(self.contract.mean, np.float32)) / np.array(self.contract.std, np.float32)
        channels = picture if self.contract.colour == "rgb" else picture[..., ::-1]
        return np.ascontiguousarray(channels.transpose(2, 0, 1)[None], np.float32)


def largest_disparity(left_rgb: np.ndarray, right_rgb: np.ndarray) -> float:
    """px; of what a coarse search without weights finds in the pair, with its margin (0.2 s)."""
    scale = min(1.0, float(np.sqrt(_SEARCH_PIXELS / (left_rgb.shape[0] * left_rgb.shape[1]))))
    first, count = disparity_range(level_of(*resized(left_rgb, right_rgb, scale)))
    return (first + count - 1) / (2 * scale)  # the range is that of a level twice as fine


def band_rows(width: int, megapixels: float, multiple: int) -> int:
    """Height of a band of at most so many megapixels, a multiple of `multiple` and higher than what bands share."""
    fitting = int(megapixels * 1e6 / max(width, 1)) // multiple * multiple
    return max(fitting, -(-2 * _OVERLAP_PX // multiple) * multiple)


def bands(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """(first, one past the last row) of bands of `rows` that cover the picture and share at least _OVERLAP_PX (or half a band)."""
    if height <= rows:
        yield 0, height
        return
    step = max(rows - _OVERLAP_PX, rows // 2)
    count = -(-(height - rows) // step) + 1
    for first in np.linspace(0, height - rows, count).round().astype(int):
        yield int(first), int(first) + rows


def judge(d_left: np.ndarray, d_right: np.ndarray, tolerance_px: float, floor_px: float) -> Estimate:
    """(H, W) disparities of both pictures -> those of the left that the right confirms within `tolerance_px`, with their sigma."""
    h, w = d_left.shape
    x = np.arange(w, dtype=np.float32)[None] - d_left
    rows = np.broadcast_to(np.arange(h, dtype=np.float32)[:, None], (h, w))
    seen = cv2.remap(
        np.ascontiguousarray(d_right), x, np.ascontiguousarray(rows), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    difference = d_left - seen
    valid = (x >= 0) & (x <= w - 1) & (d_left > 0) & (np.abs(difference) <= tolerance_px)
    share = cv2.blur(valid.astype(np.float32), (_WINDOW_PX, _WINDOW_PX))
    square = cv2.blur(np.where(valid, difference**2, 0).astype(np.float32), (_WINDOW_PX, _WINDOW_PX)) / np.maximum(
        share, 1e-6
    )
    # pixels around that were refused say that this one is worth less: their difference counts as the tolerance
    variance = 0.5 * (share * square + (1 - share) * tolerance_px**2)
    sigma = np.sqrt(floor_px**2 + variance, dtype=np.float32)
    nothing = np.float32(np.nan)
    return Estimate(np.where(valid, d_left, nothing).astype(np.float32), np.where(valid, sigma, nothing))


def _fade(rows: int, above: bool, below: bool) -> np.ndarray:
    """(rows,) weights that rise from a shared upper edge and fall to a shared lower one."""
    ramp = np.minimum(1.0, (np.arange(rows, dtype=np.float32) + 1) / _OVERLAP_PX)
    return (ramp if above else 1) * (ramp[::-1] if below else 1) * np.ones(rows, np.float32)
