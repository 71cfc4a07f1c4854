"""All that tracking keeps of one frame: its key points, measured by both eyes. Pictures are not kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.stereo_points import backproject_stereo
from stages.track.points.features import FeatureMethod, working_scale
from stages.track.points.measured_depth import read_depth
from stages.track.points.stereo_measurement import level_of, measure_right, pyramid

LOST_MASK_FACTOR = 3
"""more points are taken where the mask was lost: the object may be anywhere, and small; the best come first"""


@dataclass(frozen=True)
class FramePoints:
    """Key points of a frame, in px of the full rectified left picture.

    uv (N, 2) float64; u_right (N,) NaN = not seen on the right; slope (N, 2) disparity per px in x, y; sigma_px (N,) of u_right;
    scale_px (N,) blob scale; descriptor (N, D) uint8; inside (N,) on the object or on what moves with it; mask_lost: the frame's mask says
    nothing; gripped (N,) those that are on what moves with it, None = none.
    """

    frame: int
    uv: np.ndarray
    u_right: np.ndarray
    slope: np.ndarray
    sigma_px: np.ndarray
    scale_px: np.ndarray
    descriptor: np.ndarray
    inside: np.ndarray
    mask_lost: bool
    gripped: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.uv)

    @property
    def own(self) -> np.ndarray:
        """(N,) bool: on the object itself."""
        return self.inside if self.gripped is None else self.inside & ~self.gripped

    @property
    def uvr(self) -> np.ndarray:
        """(N, 3) px (u, v, u_right)."""
        return np.column_stack([self.uv, self.u_right])

    def xyz(self, rig: Rig) -> np.ndarray:
        """(N, 3) in the left camera, metres; NaN without the right eye."""
        return backproject_stereo(rig, self.uvr)

    def only(self, keep: np.ndarray) -> FramePoints:
        """The points named by a bool mask or by indices."""
        names = ("uv", "u_right", "slope", "sigma_px", "scale_px", "descriptor", "inside")
        gripped = None if self.gripped is None else self.gripped[keep]
        return replace(self, gripped=gripped, **{n: getattr(self, n)[keep] for n in names})

    def first(self, count: int) -> FramePoints:
        """The best `count` points."""
        return self if len(self) <= count else self.only(np.arange(count))


@dataclass(frozen=True)
class MeasureOptions:
    """How many points to take, and how sure the right eye must be."""

    max_inside: int
    max_outside: int
    max_width_px: int
    min_correlation: float


def measure_frame(
    frame: int,
    picture: np.ndarray,
    left: np.ndarray,
    right: np.ndarray | None,
    mask: np.ndarray,
    mask_lost: bool,
    disparity: np.ndarray,
    sigma: np.ndarray,
    method: FeatureMethod,
    options: MeasureOptions,
) -> FramePoints:
    """Detect in the left picture, measure in the right one, or by depth where there is none. Pictures uint8: `picture` is the left one as
    the method sees it, grey or RGB, `left` and `right` (H, W) are grey; mask bool, disparity and sigma px with NaN = none."""
    height, width = left.shape
    scale = working_scale(method, options.max_width_px, width)
    small = picture if scale == 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small_mask = (
        mask
        if scale == 1
        else cv2.resize(mask.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    )
    outside = LOST_MASK_FACTOR * (options.max_outside + options.max_inside) if mask_lost else options.max_outside
    points = method(small, small_mask, options.max_inside, outside)
    zoom = np.array([width / small.shape[1], height / small.shape[0]])
    uv = (points.uv.astype(np.float64) + 0.5) * zoom - 0.5
    blob = points.scale_px * zoom[0]
    pixel = np.clip(np.rint(uv).astype(int), 0, [width - 1, height - 1])
    at = (pixel[:, 1], pixel[:, 0])
    if right is None:
        u_right, slope, deviation = read_depth(disparity, sigma, uv)
    else:
        level, search = level_of(blob, left.shape), search_range(disparity, width)
        eyes = pyramid(left), pyramid(right)
        u_right, slope, deviation = measure_right(
            *eyes, uv, level, disparity[at], sigma[at], search, options.min_correlation
        )
    return FramePoints(
        frame,
        uv,
        u_right,
        slope.astype(np.float32),
        deviation.astype(np.float32),
        blob.astype(np.float32),
        points.descriptor,
        mask[at],
        mask_lost,
    )


def search_range(disparity: np.ndarray, width: int) -> tuple[float, float]:
    """Disparities worth searching (px): generously round what the dense map holds, or a quarter of the picture without one."""
    known = disparity[::4, ::4]
    known = known[np.isfinite(known)]
    if len(known) < 100:
        return 0.0, width / 4
    low, high = np.percentile(known, (1, 99))
    return 0.6 * float(low), min(1.5 * float(high), 0.6 * width)


def object_middle(rig: Rig, points: FramePoints) -> np.ndarray:
    """(3,) of the object's points in the left camera, of all points where no mask is known; NaN without any seen by both eyes."""
    x = points.xyz(rig)
    x = x[points.own] if points.own.any() else x
    x = x[np.isfinite(x).all(1)]
    return np.median(x, 0) if len(x) else np.full(3, np.nan)
