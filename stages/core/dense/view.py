"""A small dense picture of each frame (grey, disparity, mask) that is kept for all frames, and what it says about a claimed motion.

A few matching points can lie: the same logo on both sides of a box, two equal tags. The whole visible surface lies less easily. If frame
b is where a claimed motion puts it, no surface point of a may float in front of what b sees, and no point of the object may fall outside
b's mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.dense.kept import KEPT
from stages.core.dense.landing import Landing, landing
from stages.core.frames import FrameReader
from stages.core.geometry.rigid import inverse, transform

VIEW_WIDTH = 256
"""px; 2,000 frames then take about 400 MB"""
LEAST_SIDE, ROUND_IT = 110, 0.5
"""px of the small picture that an object should span, and how much of its size is shown round it then"""
MASK_MARGIN = 3
"""px of the small picture that a mask may be off"""
MAX_SIGMA_SHARE = 0.02
"""a disparity with a larger standard deviation than this share of itself is not asked"""


@dataclass(frozen=True)
class DenseView:
    """gray (h, w) uint8; disparity and sigma (h, w) float16, in px of the FULL picture, NaN = none; mask (h, w) bool; rig of the
    small picture."""

    gray: np.ndarray
    disparity: np.ndarray
    sigma: np.ndarray
    mask: np.ndarray
    rig: Rig
    zoom: float
    """px of the full picture in one of the small"""
    corner: tuple[int, int] = (0, 0)
    """(x, y) of its upper left in the full picture, px: a view may show the part round the object only"""

    def surface(self, object_only: bool) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) int of the small picture with a trusted disparity; their points (N, 3) in the left camera, metres. Read-only."""
        uv, xyz = KEPT.of(self, ("surface", object_only), lambda: self._surface(object_only))
        return uv, xyz

    def _surface(self, object_only: bool) -> tuple[np.ndarray, np.ndarray]:
        d = self.disparity.astype(np.float32)
        with np.errstate(invalid="ignore"):
            use = (d > 0) & (self.sigma.astype(np.float32) < np.maximum(MAX_SIGMA_SHARE * d, 0.5))
        use &= self.mask if object_only else True
        v, u = np.nonzero(use)
        uv = np.column_stack([u, v])
        return uv, self.rig.backproject(uv, self.depth(d[v, u]))

    def land(self, x_left: np.ndarray) -> Landing:
        """Where points (N, 3) of this frame's left camera fall, against what its depth shows there."""
        rig = self.rig
        camera = np.array([rig.fx, rig.fy, rig.cx, rig.cy, rig.fx * rig.baseline_m, self.zoom])
        seen = KEPT.of(self, "seen", lambda: (self.disparity.astype(np.float32), self.sigma.astype(np.float32)))
        return landing(x_left, camera, *seen)

    def pixels(self, uv: np.ndarray) -> np.ndarray:
        """(N, 2) px of the full picture in px of the small one."""
        return (uv - self.corner + 0.5) / self.zoom - 0.5

    def full_pixels(self, uv: np.ndarray) -> np.ndarray:
        """The inverse of `pixels`."""
        return (uv + 0.5) * self.zoom - 0.5 + self.corner

    def wide_mask(self) -> np.ndarray:
        """(h, w) bool, read-only: the mask and as much round it as it may be off."""
        size = (2 * MASK_MARGIN + 1, 2 * MASK_MARGIN + 1)
        return KEPT.of(self, "wide", lambda: (cv2.dilate(self.mask.astype(np.uint8), np.ones(size, np.uint8)) > 0,))[0]

    def depth(self, disparity_px: np.ndarray) -> np.ndarray:
        """Depth in metres from disparity in px of the full picture."""
        return self.rig.depth_from_disparity(np.asarray(disparity_px, np.float64) / self.zoom)

    def predicted_disparity(self, x_left: np.ndarray) -> np.ndarray:
        """(N,) px of the full picture; NaN behind the camera."""
        return self.rig.disparity_from_depth(x_left[:, 2]) * self.zoom


@dataclass(frozen=True)
class Agreement:
    """Shares of the asked surface points: on the seen surface; floating in front of it, or off the mask; and how many were asked.

    `unseen` is the part of `violate` that only the mask speaks for, because there is no depth where the points fall."""

    agree: float
    violate: float
    asked: int
    unseen: float = 0.0


def small_view(rig: Rig, gray: np.ndarray, disparity: np.ndarray, sigma: np.ndarray, mask: np.ndarray) -> DenseView:
    """From full-size maps. Disparities are medians of the block's centre pixels, so that no value is mixed across an edge."""
    return _view_of(rig, gray, disparity, sigma, mask, min(1.0, VIEW_WIDTH / rig.width))


def close_view(rig: Rig, gray: np.ndarray, disparity: np.ndarray, sigma: np.ndarray, mask: np.ndarray) -> DenseView:
    """The same, of the part round the object alone where that is small in the picture, as large as `LEAST_SIDE` allows."""
    side = longest_side(mask)
    scale = min(1.0, VIEW_WIDTH / rig.width)
    if side == 0 or side * scale >= LEAST_SIDE or scale == 1.0:
        return _view_of(rig, gray, disparity, sigma, mask, scale)
    v, u = np.nonzero(mask)
    reach = round(ROUND_IT * side)
    x, y = (slice(max(0, a.min() - reach), min(n, a.max() + 1 + reach)) for a, n in ((u, rig.width), (v, rig.height)))
    part = replace(rig, width=x.stop - x.start, height=y.stop - y.start, cx=rig.cx - x.start, cy=rig.cy - y.start)
    maps = (a[y, x] for a in (gray, disparity, sigma, mask))
    return replace(_view_of(part, *maps, min(1.0, LEAST_SIDE / side)), corner=(int(x.start), int(y.start)))


def small_view_of(rig: Rig, reader: FrameReader, frame: int) -> DenseView:
    """`small_view` of a frame as it is stored."""
    return small_view(rig, reader.gray(frame), reader.disparity_px(frame), reader.sigma_px(frame), reader.mask(frame))


def close_view_of(rig: Rig, reader: FrameReader, frame: int) -> DenseView:
    """`close_view` of a frame as it is stored."""
    return close_view(rig, reader.gray(frame), reader.disparity_px(frame), reader.sigma_px(frame), reader.mask(frame))


def longest_side(mask: np.ndarray) -> int:
    """Of the box round a mask, px; 0 for none."""
    v, u = np.nonzero(mask)
    return int(max(np.ptp(u), np.ptp(v)) + 1) if len(u) else 0


def _view_of(
    rig: Rig, gray: np.ndarray, disparity: np.ndarray, sigma: np.ndarray, mask: np.ndarray, scale: float
) -> DenseView:
    small = rig.scaled(scale)
    size = (small.width, small.height)

    def pick(a):
        return cv2.resize(a, size, interpolation=cv2.INTER_NEAREST)

    return DenseView(
        cv2.resize(gray, size, interpolation=cv2.INTER_AREA),
        pick(disparity).astype(np.float16),
        pick(sigma).astype(np.float16),
        pick(mask.astype(np.uint8)) > 0,
        small,
        rig.width / small.width,
    )


def agreement(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> Agreement:
    """What the surface of a says in b."""
    _, x_a = a.surface(object_only)
    if len(x_a) == 0:
        return Agreement(0.0, 0.0, 0)
    landed = b.land(transform(b_from_a, x_a))
    if not object_only:
        return _shares(landed.on, landed.in_front, landed.known, np.zeros_like(landed.known))
    outside = ~b.wide_mask()[landed.at] if b.mask.any() else np.zeros(len(landed.on), bool)
    # off the mask, but just where b sees a surface: the mask is at fault, not the motion; behind what b sees: a hand may hide it
    asked = (landed.known & b.mask[landed.at]) | (outside & ~landed.hidden)
    return _shares(landed.on, landed.in_front | (outside & ~landed.on), asked, outside & ~landed.known)


def both_ways(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> tuple[Agreement, Agreement]:
    """What the surface of a says in b, and that of b in a."""
    return agreement(a, b, b_from_a, object_only), agreement(b, a, inverse(b_from_a), object_only)


def _shares(on: np.ndarray, false: np.ndarray, asked: np.ndarray, unseen: np.ndarray) -> Agreement:
    count = int(asked.sum())
    return Agreement(
        *(float((x & asked).sum() / max(count, 1)) for x in (on, false)),
        count,
        float((unseen & asked).sum() / max(count, 1)),
    )
