"""The still background behind a moving object, from the frames themselves: its colour, scatter and disparity per pixel.

A sample of a pixel counts as background where the caller says so (outside the prompt box by colour, by depth, or outside the masks of
an earlier pass); the rest is never guessed: pixels the object always covers stay unknown (NaN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from stages.core.parallel import ordered_map
from stages.masks.cut.colour_model import ColourModel
from stages.masks.cut.evidence import SHADOW_LOG_SIGMA
from stages.masks.cut.planes import SURE_PX
from stages.masks.frame.working_frame import WorkingFrame

MAX_SAMPLES = 32
"""frames taken, evenly spaced: the median of 32 has a noise of a fifth of the sensor's, and 1 megapixel of them is 160 MB"""

UNSHADED_FROM = 7
"""frames whose median shows what the first frame has in shadow"""
SHADED, SHADED_TINT = (0.35, 0.93), 0.06
"""by how much a shadow darkens, and by how much of the brightness it changes the hue"""
SHADE_GAP_PX = 3
LEAST_SHADE = 0.02
RANGE = 6.0
"""standard deviations of the noise that the smoothing of a frame reaches over"""
LEAST_SIGMA = 0.5
"""grey levels; what is left of noise, compression and vignetting"""
LLR_MOST, LLR_SPREAD_PX = 4.0, 2.0
"""most that one pixel's colour says, and how far its neighbours speak with it"""
ROWS = 32
"""rows per piece of work"""


@dataclass(frozen=True)
class Background:
    """rgb (H, W, 3) float32 with NaN = unknown, sigma (H, W) grey levels, disparity (H, W) px with NaN = unknown, at the working size;
    shade: how much shadows and reflections of the object scatter its brightness, as a share."""

    rgb: np.ndarray
    sigma: np.ndarray
    disparity: np.ndarray
    known_share: float
    shade: float = SHADOW_LOG_SIGMA


@dataclass
class Samples:
    """Stack of frames: rgb (N, H, W, 3) uint8, disparity (N, H, W) float16, gain (N, 3) of each frame against the first."""

    frames: list[int]
    rgb: np.ndarray
    disparity: np.ndarray
    gain: np.ndarray


def sure_disparity(view: WorkingFrame) -> np.ndarray:
    """(H, W) float16 px: the disparities that the background is learned from, NaN = none."""
    return np.where(view.sigma < SURE_PX, view.disparity, np.nan).astype(np.float16)


def frame_gain(rgb: np.ndarray, reference: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(3,) exposure of `rgb` over `reference` (any float or uint8, NaN = unknown): median ratio over well-exposed pixels of `where`."""
    a, b = rgb[where].astype(np.float32), reference[where].astype(np.float32)
    ok = (a > 12).all(-1) & (a < 245).all(-1) & (b > 12).all(-1) & (b < 245).all(-1)
    if ok.sum() < 200:
        return np.ones(3, np.float32)
    # the mean of both pictures' middle half: a median of 8-bit ratios would be quantised
    ratio = a[ok].sum(-1) / b[ok].sum(-1)
    lo, hi = np.percentile(ratio, [30, 70])
    middle = (ratio >= lo) & (ratio <= hi)
    return (a[ok][middle].sum(0) / b[ok][middle].sum(0)).astype(np.float32)


def background_from(samples: Samples, use: np.ndarray, noise: float, workers: int = 1) -> Background:
    """Robust mean of the samples marked in `use` (N, H, W) bool: those near the median sample by brightness."""
    h, w = samples.disparity.shape[1:]
    rgb, sigma, disparity = (
        np.full((h, w, 3), np.nan, np.float32),
        np.full((h, w), np.nan, np.float32),
        np.full((h, w), np.nan, np.float32),
    )
    gain = samples.gain.astype(np.float32)

    def rows(y: int) -> None:
        s = slice(y, y + ROWS)
        depth = samples.disparity[:, s].astype(np.float32)
        _robust(samples.rgb[:, s], depth, gain, use[:, s], np.float32(noise), rgb[s], sigma[s], disparity[s])

    for _ in ordered_map(rows, range(0, h, ROWS), workers):
        pass
    return Background(rgb, sigma, disparity, float(np.isfinite(rgb[..., 0]).mean()))


@njit(nogil=True, cache=True)
def _middle(values, n):  # pragma: no cover - compiled
    """Median (upper middle) of the first n values; sorts them in place."""
    for i in range(1, n):
        v, j = values[i], i - 1
        while j >= 0 and values[j] > v:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = v
    return values[n // 2]


@njit(nogil=True, cache=True)
def _robust(stack, disparity, gain, use, noise, rgb, sigma, disp):  # pragma: no cover - compiled
    n, h, w, _ = stack.shape
    light, work, depth = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    for y in range(h):
        for x in range(w):
            m, q = 0, 0
            for i in range(n):
                if use[i, y, x]:
                    light[m] = (
                        stack[i, y, x, 0] / gain[i, 0] + stack[i, y, x, 1] / gain[i, 1] + stack[i, y, x, 2] / gain[i, 2]
                    )
                    m += 1
                    if np.isfinite(disparity[i, y, x]):
                        depth[q] = disparity[i, y, x]
                        q += 1
            if m < 2:
                continue
            work[:m] = light[:m]
            mid = _middle(work, m)
            for i in range(m):
                work[i] = abs(light[i] - mid)
            spread = np.float32(1.4826) * _middle(work, m)
            reach = 3 * max(spread, 2 * noise)
            total, r, g, b = 0, np.float32(0), np.float32(0), np.float32(0)
            for i in range(n):
                if use[i, y, x]:
                    cr, cg, cb = (
                        stack[i, y, x, 0] / gain[i, 0],
                        stack[i, y, x, 1] / gain[i, 1],
                        stack[i, y, x, 2] / gain[i, 2],
                    )
                    if abs(cr + cg + cb - mid) <= reach:
                        total, r, g, b = total + 1, r + cr, g + cg, b + cb
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = r / total, g / total, b / total
            sigma[y, x] = max(spread / 2, noise) * (1 + 1 / np.sqrt(total))
            if q >= 2:
                middle = _middle(depth, q)
                for i in range(q):
                    depth[i] = abs(depth[i] - middle)
                # copies of the object's disparity differ from frame to frame
                if np.float32(1.4826) * _middle(depth, q) < SURE_PX:
                    disp[y, x] = middle


def shade_seen(samples: Samples, background: Background, masks: list[np.ndarray], least: float = LEAST_SHADE) -> float:
    """Standard deviation of the background's brightness round the object, as a share: what its shadows and reflections do to it.

    From a ring round each mask (H, W), so that a background that no shadow reaches does not pass for a shaded object's flat side.
    """
    import cv2

    found = []
    for rgb, gain, mask in zip(samples.rgb, samples.gain, masks, strict=True):
        size = max(8, round(0.25 * float(mask.sum()) ** 0.5))
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
        ring = (distance > SHADE_GAP_PX) & (distance < size) & np.isfinite(background.sigma)
        if ring.sum() > 100:
            light = cv2.blur((rgb / gain.astype(np.float32)).sum(-1), (3, 3))
            plain = cv2.blur(np.nan_to_num(background.rgb).sum(-1), (3, 3))
            found.append(np.abs(light[ring] / np.maximum(plain[ring], 3.0) - 1)[::3])
    if not found:
        return SHADOW_LOG_SIGMA
    # nine tenths of the ring: some of it may be object that the first masks missed
    return float(np.clip(np.percentile(np.concatenate(found), 90) / 1.645, least, SHADOW_LOG_SIGMA))


def calmed(seen: np.ndarray, rgb: np.ndarray, sigma: np.ndarray, ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`seen` (h, w, 3), a frame in the background's exposure, with less noise, and the sigma (h, w) that is left of it.

    What differs from the background's colour `rgb` (NaN = unknown) is smoothed with respect for edges (bilateral filter, Tomasi and
    Manduchi 1998): on the background nothing is left of it, and a part of the object two grey levels off stands out. `ring` (h, w) bool:
    pixels that do show the background tell how much is left.
    """
    import cv2

    known = np.isfinite(rgb[..., 0])
    rest = np.where(known[..., None], seen - rgb, 0).astype(np.float32)
    spread = 1.4826 * float(np.median(np.abs(rest[ring])))
    rest = cv2.bilateralFilter(rest, 5, RANGE * spread, 2.0)
    misfit = np.abs(rest[ring]).mean(-1) / sigma[ring]
    scale = max(1.25 * float(np.median(misfit)), 0.7 * float(np.percentile(misfit, 90)))
    return np.where(known[..., None], rgb + rest, seen), np.maximum(sigma * np.float32(scale), LEAST_SIGMA)


def anchored(samples: Samples, outside: np.ndarray, noise: float) -> np.ndarray:
    """(N, H, W) bool: samples that look like the first frame at pixels where that one certainly shows background (`outside`).

    Where the first frame is a darkened copy of what most frames show, it shows the object's shadow: there they look like the others.
    """
    reference = _unshaded(samples)
    tolerance = 6 * noise + 0.1 * reference.max(-1)
    out = np.zeros(samples.disparity.shape, bool)
    for i in range(len(out)):
        difference = np.abs(samples.rgb[i] / samples.gain[i].astype(np.float32) - reference)
        out[i] = outside & (
            np.maximum(np.maximum(difference[..., 0], difference[..., 1]), difference[..., 2]) < tolerance
        )
    return out


def _unshaded(samples: Samples) -> np.ndarray:
    """(H, W, 3) float32: the first frame, and the median of a few frames where the first is that in shadow."""
    first = samples.rgb[0].astype(np.float32)
    picks = np.unique(np.linspace(0, len(samples.rgb) - 1, UNSHADED_FROM).round().astype(int))
    usual = np.median(samples.rgb[picks] / samples.gain[picks, None, None].astype(np.float32), axis=0)
    factor = (first * usual).sum(-1) / np.maximum(np.square(usual).sum(-1), 1.0)
    off = np.abs(first - factor[..., None] * usual).max(-1)
    shaded = (factor > SHADED[0]) & (factor < SHADED[1]) & (off < SHADED_TINT * usual.max(-1) + 3)
    return np.where(shaded[..., None], usual, first).astype(np.float32)


def behind(
    samples: Samples, surface: np.ndarray | None, where: np.ndarray, object_px: np.ndarray, colours: ColourModel
) -> np.ndarray:
    """(N, H, W) bool: samples inside `where` with the disparity of the background: `surface` (H, W) px, else the lowest seen there.

    `object_px` (H, W): disparity of the object at the prompt frame, NaN outside of it. What is not clearly farther than that is no
    background: an object that hardly moves would be taken for it. The lowest disparity may still be the object's own, gone farther away:
    then the `colours` must speak for the background too.
    """
    d = samples.disparity.astype(np.float32)
    plausible = where[None]
    if surface is None:
        filled = np.sort(np.where(np.isfinite(d), d, np.inf), axis=0)
        surface = filled[min(max(1, len(d) // 8), len(d) - 1)]
        plausible = np.stack(
            [where & _background_like(colours, *pair) for pair in zip(samples.rgb, samples.gain, strict=True)]
        )
    limit = np.where(np.isfinite(object_px), object_px - np.maximum(2.0, 0.03 * object_px), np.inf).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return plausible & np.isfinite(d) & (d < limit) & (np.abs(d - surface) < 1.5 + 0.01 * np.abs(surface))


def _background_like(colours: ColourModel, rgb: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """(H, W) bool: colours round a pixel that are rather the background's than the object's."""
    import cv2

    llr = np.clip(colours.llr(rgb / gain.astype(np.float32)), -LLR_MOST, LLR_MOST)
    return cv2.GaussianBlur(llr, (0, 0), LLR_SPREAD_PX) < 0


def outside_masks(masks: list[np.ndarray]) -> np.ndarray:
    """(N, H, W) bool: the complement of the masks with a margin of about 1 % of the width."""
    import cv2

    size = 2 * max(3, masks[0].shape[1] // 120) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.stack([cv2.dilate(m.astype(np.uint8), kernel) == 0 for m in masks])
