"""What the surface needs of each frame: crops round the object, depth with its error along the ray, and the mask as a distance.

Memory is bounded: at most `max_views` frames are kept, each cropped to the mask and scaled to at most `max_pixels`.
Depth error along the ray of a disparity error s: sigma_z = z^2 / (f b) s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse

HIDDEN_REACH = 0.3
"""of the longer side of the mask's box: how far beside it the crop follows what is hidden"""
VEIL_PX = 4
"""at the edge of what stands before the object its depth is unsure: the nearest so many px round counts"""
NO_RIGHT_PX = 2
"""width of the right crop of a frame that has none"""


@dataclass(frozen=True)
class View:
    """One stereo pair cropped to the object. Pictures (h, w, 3) uint8 RGB, maps (h, w) float32; metres and px."""

    frame: int
    object_from_left: np.ndarray
    rig: Rig
    """the left crop's camera"""
    rig_right: Rig
    """the right crop's camera; it sits at object_from_left @ translate(baseline)"""
    left: np.ndarray
    right: np.ndarray
    depth: np.ndarray
    """NaN = none or not trusted (outside the mask, near its outline)"""
    sigma: np.ndarray
    """standard deviation of `depth`, metres"""
    outline: np.ndarray
    """signed distance to the mask's outline, px of the crop, positive inside; an edge behind which the object is hidden is no outline"""
    picture_box: tuple[float, float, float, float]
    """u0, v0, u1, v1 of the whole picture in px of the crop: what is outside the crop but in here is outside the mask"""
    trust: float
    """of the mask, 0-1; 0 = the silhouette does not vote"""
    veil: np.ndarray | None = None
    """depth of what stands before the object where something does, metres, 0 = unknown; inf elsewhere. None = nothing does"""
    hidden_right: np.ndarray | None = None
    """(h, w) bool of the right crop: something stands before the object there; None = nothing does"""

    @property
    def hidden(self) -> np.ndarray | None:
        """(h, w) bool: something stands before the object there; None = nowhere."""
        return None if self.veil is None else np.isfinite(self.veil)

    @property
    def left_from_object(self) -> np.ndarray:
        """(4, 4)."""
        return inverse(self.object_from_left)

    @property
    def object_from_right(self) -> np.ndarray:
        """(4, 4)."""
        shift = np.eye(4)
        shift[0, 3] = self.rig.baseline_m
        return self.object_from_left @ shift

    def shifted_disparity(self, bias_px: float) -> View:
        """The view with `bias_px` subtracted from the disparity that its depth came from."""
        if bias_px == 0:
            return self
        disparity = self.rig.fx * self.rig.baseline_m / self.depth - bias_px
        return replace(self, depth=(self.rig.fx * self.rig.baseline_m / disparity).astype(np.float32))


def choose_frames(poses: Mapping[int, np.ndarray], trust: Mapping[int, float], count: int) -> list[int]:
    """At most `count` frames that look from as many different places as possible (farthest-point choice in the object frame).

    Frames whose mask is trusted less count as nearer than they are. Deterministic; sorted.
    """
    frames = sorted(f for f in poses if trust.get(f, 0) > 0)
    if len(frames) <= count:
        return frames
    centres = np.array([poses[f][:3, 3] for f in frames])
    weight = np.array([trust[f] for f in frames])
    chosen = [int(np.argmax(weight))]
    gap = np.linalg.norm(centres - centres[chosen[0]], axis=1)
    while len(chosen) < count:
        k = int(np.argmax(gap * weight))
        chosen.append(k)
        gap = np.minimum(gap, np.linalg.norm(centres - centres[k], axis=1))
    return sorted(frames[k] for k in chosen)


@dataclass(frozen=True)
class WholeFrame:
    """One frame as the stages before left it, whole pictures: disparity and its sigma (H, W) px, NaN = none."""

    number: int
    object_from_left: np.ndarray
    pair: tuple[np.ndarray, np.ndarray | None]
    """(H, W, 3) uint8; without a right one the view gets one that is too narrow for anything to be seen in it"""
    mask: np.ndarray
    trust: float
    """of the mask, 0-1"""
    disparity_px: np.ndarray
    sigma_px: np.ndarray
    hidden: np.ndarray | None = None
    """(H, W) bool: pixels off the mask before which something stands; None = none"""


def make_view(frame: WholeFrame, rig: Rig, max_pixels: int, erode_px: float) -> View | None:
    """Crop and scale one frame; None when its mask is empty. Disparity within `erode_px` of the outline is not trusted."""
    import cv2

    pair, mask, disparity_px, sigma_px = frame.pair, frame.mask, frame.disparity_px, frame.sigma_px
    hidden = None if frame.hidden is None or not frame.hidden.any() else frame.hidden
    box = _mask_box(mask, hidden, margin=12)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    crop = np.s_[y0:y1, x0:x1]
    own = outline = _signed_distance(mask[crop])
    if hidden is not None:
        outline = np.where(hidden[crop], np.minimum(own, -0.5), _signed_distance(mask[crop] | hidden[crop]))
    inside = (own > erode_px) & np.isfinite(disparity_px[crop]) & np.isfinite(sigma_px[crop])
    depth = rig.depth_from_disparity(np.where(inside, disparity_px[crop], np.nan)).astype(np.float32)
    sigma = (depth**2 / (rig.fx * rig.baseline_m) * sigma_px[crop]).astype(np.float32)
    rx0, rx1 = (
        _right_columns(disparity_px[crop], mask[crop], x0, x1, width=rig.width)
        if pair[1] is not None
        else (0, NO_RIGHT_PX)
    )
    cameras = rig.cropped(x0, y0, x1 - x0, y1 - y0), rig.cropped(rx0, y0, rx1 - rx0, y1 - y0)
    picture = np.array([-x0, -y0, rig.width - 1 - x0, rig.height - 1 - y0], float)
    left = pair[0][crop]
    right = np.zeros((y1 - y0, rx1 - rx0, 3), np.uint8) if pair[1] is None else pair[1][y0:y1, rx0:rx1]
    veil, hidden_right = _veils(rig, hidden, disparity_px, crop, crop_right=np.s_[y0:y1, rx0:rx1])
    scale = min(1.0, float(np.sqrt(max_pixels / depth.size)))
    if scale < 1:
        small, small_right = cameras[0].scaled(scale), cameras[1].scaled(scale)
        size = (small.width, small.height)
        left = cv2.resize(left, size, interpolation=cv2.INTER_AREA)
        right = cv2.resize(right, (small_right.width, small_right.height), interpolation=cv2.INTER_AREA)
        depth, sigma = (cv2.resize(a, size, interpolation=cv2.INTER_NEAREST) for a in (depth, sigma))
        outline = cv2.resize(outline, size, interpolation=cv2.INTER_AREA) * np.float32(scale)
        if veil is not None and hidden_right is not None:
            veil = cv2.resize(veil, size, interpolation=cv2.INTER_NEAREST)
            right_size = (small_right.width, small_right.height)
            hidden_right = cv2.resize(hidden_right.astype(np.uint8), right_size, interpolation=cv2.INTER_NEAREST) > 0
        cameras, picture = (small, small_right), picture * scale
    return View(
        frame.number,
        np.asarray(frame.object_from_left, float),
        *cameras,
        np.ascontiguousarray(left),
        np.ascontiguousarray(right),
        np.ascontiguousarray(depth),
        np.ascontiguousarray(sigma),
        np.ascontiguousarray(outline),
        tuple(picture),
        float(frame.trust),
        veil,
        hidden_right,
    )


def disparity_bias(views: Iterable[View], points: np.ndarray, max_residual_px: float = 1.0) -> tuple[float, int]:
    """Median of (matched - true) disparity at bundle-adjusted points (P, 3), px of the crops, and how many readings stand behind it.

    Block matching is biased by a constant fraction of a pixel on slanted surfaces; triangulated points over many views are not.
    Readings further off than `max_residual_px` are another surface (occlusion) and left out. 0 with fewer than 200 readings.
    """
    readings = [r for v in views if len(r := _residuals_at(v, points)) > 0]
    found = np.concatenate(readings) if readings else np.empty(0)
    found = found[np.abs(found) < max_residual_px]
    return (float(np.median(found)), len(found)) if len(found) >= 200 else (0.0, len(found))


def _residuals_at(view: View, points: np.ndarray) -> np.ndarray:
    x = points @ view.left_from_object[:3, :3].T + view.left_from_object[:3, 3]
    uv = np.rint(view.rig.project(x))
    ok = (uv[:, 0] >= 0) & (uv[:, 0] < view.rig.width) & (uv[:, 1] >= 0) & (uv[:, 1] < view.rig.height)
    u, v, z = uv[ok, 0].astype(int), uv[ok, 1].astype(int), x[ok, 2]
    measured, sure = view.depth[v, u], view.sigma[v, u] < 0.4 * z**2 / (view.rig.fx * view.rig.baseline_m)
    keep = np.isfinite(measured) & sure
    return view.rig.fx * view.rig.baseline_m * (1 / measured[keep] - 1 / z[keep])


def _veils(
    rig: Rig,
    hidden: np.ndarray | None,
    disparity_px: np.ndarray,
    crop: tuple[slice, slice],
    crop_right: tuple[slice, slice],
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(`View.veil`, `View.hidden_right`) at full size."""
    import cv2

    from stages.surface.views.hidden import right_hidden

    if hidden is None:
        return None, None
    before = np.nan_to_num(rig.depth_from_disparity(disparity_px[crop]), nan=0.0).astype(np.float32)
    before = np.where(hidden[crop], before, np.float32(np.inf))
    nearest = cv2.erode(before, np.ones((2 * VEIL_PX + 1,) * 2, np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.where(hidden[crop], nearest, np.float32(np.inf)), right_hidden(hidden, disparity_px)[crop_right]


def _mask_box(mask: np.ndarray, hidden: np.ndarray | None, margin: int) -> tuple[int, int, int, int] | None:
    """Round the mask, and round what is hidden beside it."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    h, w = mask.shape
    low, high = np.array([cols[0], rows[0]]), np.array([cols[-1], rows[-1]]) + 1
    if hidden is not None:
        reach = int(HIDDEN_REACH * (high - low).max())
        x0, y0, x1, y1 = *np.maximum(low - reach, 0), *np.minimum(high + reach, (w, h))
        near = hidden[y0:y1, x0:x1]
        if near.any():
            rows, cols = np.flatnonzero(near.any(1)) + y0, np.flatnonzero(near.any(0)) + x0
            low, high = np.minimum(low, (cols[0], rows[0])), np.maximum(high, (cols[-1] + 1, rows[-1] + 1))
    (x0, y0), (x1, y1) = np.maximum(low - margin, 0), np.minimum(high + margin, (w, h))
    return int(x0), int(y0), int(x1), int(y1)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """px to the outline that runs between the last pixel in and the first pixel out; the picture's border is no outline."""
    import cv2

    m = mask.astype(np.uint8)
    inside, outside = cv2.distanceTransform(m, cv2.DIST_L2, 5), cv2.distanceTransform(1 - m, cv2.DIST_L2, 5)
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)


def _right_columns(disparity: np.ndarray, mask: np.ndarray, x0: int, x1: int, width: int) -> tuple[int, int]:
    """Columns of the right picture that show the crop, from the range of disparity inside the mask."""
    inside = disparity[mask & np.isfinite(disparity)]
    low, high = np.percentile(inside, (2, 98)) if len(inside) else (0.0, float(x0))
    slack = 8 + 0.1 * (high - low)
    a, b = int(np.floor(x0 - high - slack)), int(np.ceil(x1 - low + slack))
    a = min(max(a, 0), width - 2)
    return a, max(a + 2, min(b, width))
