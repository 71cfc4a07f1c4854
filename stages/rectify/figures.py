"""What is measured on each raw pair: size, sharpness, exposure between the eyes, and a small picture for motion and duplicates.

Nothing here keeps a picture; a survey of thousands of frames holds a few numbers for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.rectify.raw_pairs import RawPair

COMB_PX, LEAST_CHANGE = 256, 0.3
"""half the side of the part that is looked at, and the least mean difference, grey levels"""
BLACK = 16
SMALL_WIDTH = 240
"""px; enough for optical flow to 0.2 % of the width"""
THUMB = (24, 18)
WHITE = 254
EDGE_WIDTH = 1000
"""px at most for the edges: what counts is blur relative to the picture, and noise averages out"""


@dataclass
class FrameFigures:
    """One row of the survey. Sizes are (width, height); gains are right over left, one per channel, linear in grey level."""

    frame: int
    name: str
    status: str = "ok"
    reason: str = ""
    left_size: tuple[int, int] | None = None
    right_size: tuple[int, int] | None = None
    color: bool = False
    sharpness: float = float("nan")
    edges: tuple[float, ...] = ()
    """sharpness across each of four directions; motion blur takes one of them away"""
    sharpness_ratio: float = float("nan")
    gains: tuple[float, ...] = ()
    exposure_ratio: float = float("nan")
    motion: float = float("nan")
    """share of the width that the fastest 5 % of the picture moved since the frame before"""
    difference: float = float("nan")
    """largest difference of 8 x 8 averages from the frame before, grey levels"""
    right_difference: float = float("nan")
    """the same of the right picture"""
    row_offset_px: float = float("nan")
    bright: float = float("nan")
    """grey level that 1 % of the left picture exceeds"""
    clipped: float = float("nan")
    """share of the left picture that is white"""
    comb: tuple[float, float] | tuple[()] = ()
    """`neighbour_ratio` of the left picture"""
    bars: tuple[int, int, int, int] | tuple[()] = ()
    """`black_bars` of the left picture"""
    thumb: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """the left picture in 24 x 18 px"""

    @property
    def ok(self) -> bool:
        """Whether the frame can be used so far."""
        return self.status == "ok"

    def refuse(self, status: str, reason: str) -> None:
        """Mark the frame as unusable; the first reason stays."""
        if self.ok:
            self.status, self.reason = status, reason


@dataclass
class Small:
    """Small grey pictures of one left image, to compare with the next frame's."""

    flow: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    blocks: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    right_blocks: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def measure_pair(pair: RawPair) -> tuple[FrameFigures, Small | None]:
    """The figures of one pair by itself; a side that is missing or broken becomes the row's status."""
    row = FrameFigures(pair.frame, pair.name)
    if pair.left is None or pair.right is None:
        side = "left" if pair.left is None else "right"
        row.refuse("missing_pair", f"{pair.name}: no {side} picture")
        return row, None
    pictures = []
    for side, picture in (("left", pair.left), ("right", pair.right)):
        try:
            pictures.append(picture.pixels())
        except CaptureError as e:
            row.refuse("broken", f"{side}/{e.message}")
            return row, None
    left, right = pictures
    row.left_size, row.right_size = left.shape[1::-1], right.shape[1::-1]
    row.color = left.ndim == 3
    if row.left_size != row.right_size:
        row.refuse("size", f"left is {_by(row.left_size)} px, right is {_by(row.right_size)} px")
        return row, None
    gray = [cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) if p.ndim == 3 else p for p in pictures]
    row.edges = tuple(map(min, zip(*(edge_strength(g) for g in gray), strict=True)))
    row.sharpness = float(np.mean(row.edges))
    row.gains = channel_gains(left, right)
    row.exposure_ratio = gain(gray[0][::4, ::4], gray[1][::4, ::4])
    row.bright, row.clipped = float(np.quantile(gray[0][::4, ::4], 0.99)), float((gray[0][::4, ::4] >= WHITE).mean())
    row.comb = neighbour_ratio(gray[0])
    row.bars = black_bars(gray[0])
    row.thumb = cv2.resize(gray[0], THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = small_pictures(gray[0])
    small.right_blocks = _blocks(gray[1])
    return row, small


def edge_strength(gray: np.ndarray) -> tuple[float, ...]:
    """Four values: mean slope of the steepest 5 % of the edges over brightness, across x, y and both diagonals, at half size or less.

    Relative to the mean brightness, so that exposure does not count as sharpness; edges only, so that flat background does not count.
    """
    scale = min(0.5, EDGE_WIDTH / gray.shape[1])
    half = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    dx, dy = cv2.Sobel(half, cv2.CV_32F, 1, 0), cv2.Sobel(half, cv2.CV_32F, 0, 1)
    bright = float(half.mean()) + 4.0
    dx, dy = dx[::2, ::2], dy[::2, ::2]  # a quarter of the slopes ranks as well as all of them
    return tuple(_steepest(np.abs(d)) / bright for d in (dx, dy, (dx + dy) * 0.7071, (dx - dy) * 0.7071))


def black_bars(gray: np.ndarray) -> tuple[int, int, int, int]:
    """(above, below, left, right) px that are black from side to side, and end at once."""
    return (*_bars(gray), *_bars(gray.T))


def _bars(gray: np.ndarray) -> tuple[int, int]:
    seen = (gray[:, ::4] >= BLACK).mean(1)
    lit = np.flatnonzero(seen > 0)
    if not len(lit) or lit[0] == 0 or lit[-1] == len(seen) - 1 or len(lit) < 8:
        return 0, 0
    first, last = int(lit[0]), int(lit[-1])
    sharp = min(seen[first + 2], seen[last - 2]) > 0.5  # a dark background ends little by little
    return (first, len(seen) - 1 - last) if sharp else (0, 0)


def neighbour_ratio(gray: np.ndarray) -> tuple[float, float]:
    """(across, down) mean difference of pixels one apart over that of pixels two apart, in the middle of the picture."""
    h, w = gray.shape
    g = gray[max(0, h // 2 - COMB_PX) : h // 2 + COMB_PX, max(0, w // 2 - COMB_PX) : w // 2 + COMB_PX].astype(
        np.float32
    )
    across = np.abs(np.diff(g, axis=1)).mean() / max(np.abs(g[:, 2:] - g[:, :-2]).mean(), LEAST_CHANGE)
    down = np.abs(np.diff(g, axis=0)).mean() / max(np.abs(g[2:] - g[:-2]).mean(), LEAST_CHANGE)
    return float(across), float(down)


def _steepest(slope: np.ndarray, share: float = 0.05) -> float:
    cut = int((1 - share) * slope.size)
    return float(np.partition(slope.ravel(), cut)[cut:].mean())


def gain(left: np.ndarray, right: np.ndarray) -> float:
    """Brightness of the right view over the left by their quantiles, which a shift of the content hardly moves."""
    a, b = _quantiles(left), _quantiles(right)
    return float(np.exp(np.median(np.log((b + 1.0) / (a + 1.0)))))


def _quantiles(values: np.ndarray) -> np.ndarray:
    """17 quantiles from 0.1 to 0.9 of uint8 values, from the histogram, a grey level being the interval of half a level round it."""
    share = np.cumsum(np.bincount(values.ravel(), minlength=256)) / values.size
    return np.interp(np.linspace(0.1, 0.9, 17), share, np.arange(256) + 0.5)


def channel_gains(left: np.ndarray, right: np.ndarray) -> tuple[float, ...]:
    """`gain` per channel, in RGB order; one value for grey pictures."""
    if left.ndim != right.ndim or left.ndim == 2:
        return ()
    return tuple(gain(left[::4, ::4, c], right[::4, ::4, c]) for c in (2, 1, 0))


def small_pictures(gray: np.ndarray) -> Small:
    """For `compare`."""
    height = max(8, round(gray.shape[0] * SMALL_WIDTH / gray.shape[1]))
    flow = cv2.resize(gray, (SMALL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return Small(flow, _blocks(gray))


def _blocks(gray: np.ndarray) -> np.ndarray:
    h, w = max(8, gray.shape[0] // 8 * 8), max(8, gray.shape[1] // 8 * 8)
    return cv2.resize(gray[:h, :w].astype(np.float32), (w // 8, h // 8), interpolation=cv2.INTER_AREA)


def compare(before: Small, now: Small) -> tuple[float, float]:
    """(motion as a share of the width, largest block difference in grey levels) between two frames of one size."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(before.flow, now.flow, None)
    size = np.hypot(flow[..., 0], flow[..., 1])
    return float(np.quantile(size, 0.95)) / SMALL_WIDTH, float(np.abs(now.blocks - before.blocks).max())


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
