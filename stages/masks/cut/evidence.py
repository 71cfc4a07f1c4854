"""Per-pixel evidence for object against background, as log-likelihood ratios (positive = object), each with an outlier part.

Nothing here looks at neighbours; `outline.py` turns evidence into outlines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from stages.masks.cut.colour_model import CAST, UNIFORM, ColourModel

DISPARITY_OUTLIERS = 0.1
"""share of disparities that say nothing (mismatches that survived their check, borders of the object)"""
WEAK_SIGMA_PX = 0.6
"""at this standard deviation of the disparity its evidence counts half"""
SHADOW_LOG_SIGMA = 0.12
"""a background pixel may darken or brighten by about 12 % (soft shadow, reflection, drift) and still be background, until it is known
how much this background does (`shade`)"""
CAST_DARKEST, CAST_TINT = 0.35, 0.03
"""a cast shadow darkens the background by any factor down to the first (grey levels, not light), and changes the hue by so much of its
brightness"""


def depth_llr(
    disparity: np.ndarray,
    sigma: np.ndarray,
    near_range: tuple[float, float],
    background: Sequence[tuple[np.ndarray, float]],
) -> np.ndarray:
    """(H, W) float32, 0 where there is no disparity.

    The object's disparities are uniform over `near_range` (px). The background is one of the surfaces in `background`
    (expected disparity (H, W) with NaN = unknown, scatter px), or anything farther than the object, or an outlier.
    """
    lo, hi = near_range
    span = max(hi - lo, 4.0)
    d = np.where(np.isfinite(disparity), disparity, 0).astype(np.float32)
    s = np.where(np.isfinite(sigma), sigma, 1.0).astype(np.float32)
    everywhere = np.float32(DISPARITY_OUTLIERS / max(hi * 1.5, 20.0))
    soft = np.clip((d - lo) / np.maximum(s, 0.5) + 0.5, 0, 1) * np.clip((hi - d) / np.maximum(s, 0.5) + 0.5, 0, 1)
    p_object = (1 - DISPARITY_OUTLIERS) / span * soft + everywhere
    p_background = np.full(d.shape, everywhere, np.float32)
    p_background += np.where(d < lo - 1.5 * s, np.float32(0.4 / max(lo, 1.0)), np.float32(0))
    for expected, scatter in background:
        total = np.sqrt(np.square(s) + scatter**2 + 0.2**2)
        r = (d - expected) / total
        term = np.exp(-0.5 * np.minimum(np.square(r), 50)) / (np.sqrt(2 * np.pi) * total)
        p_background += np.where(np.isfinite(expected), (0.9 / len(background)) * term, 0).astype(np.float32)
    # where matching had little to hold on to, it copies its neighbours' disparity far beyond the object's border: wrong together
    reliable = 1 / (1 + np.square(s / WEAK_SIGMA_PX))
    return np.where(np.isfinite(disparity), reliable * np.log(p_object / p_background), 0).astype(np.float32)


def colour_llr(
    colour: np.ndarray,
    model: ColourModel,
    background: np.ndarray | None = None,
    background_sigma: np.ndarray | None = None,
    shade: float = SHADOW_LOG_SIGMA,
    gain: np.ndarray | None = None,
) -> np.ndarray:
    """(H, W) float32 from the global colour model; where the background's own picture is known (not NaN), from that instead.

    `gain` (3,): the model's colours are `colour * gain`, those of the frame's own exposure; None = the same.
    """
    log_object, log_background = model.log_densities(colour if gain is None else colour * np.asarray(gain, np.float32))
    llr = log_object - log_background
    if background is None:
        return llr

    def f32(a):
        return np.ascontiguousarray(a, np.float32)

    _known_background(f32(colour), f32(background), f32(background_sigma), f32(log_object), np.float32(shade), llr)
    return llr


@njit(nogil=True, cache=True)
def _known_background(colour, background, sigma, log_object, shade, llr):  # pragma: no cover - compiled
    """Overwrites llr where the background is known; see `background_log_density` for the formula."""
    h, w = llr.shape
    prior = np.float32(1) / (shade * shade)
    floor = np.float32(np.log(0.02 * UNIFORM))
    cast_prior = np.float32(np.log(CAST / (1 - CAST_DARKEST)))
    for y in range(h):
        for x in range(w):
            b0, b1, b2 = background[y, x, 0], background[y, x, 1], background[y, x, 2]
            if not np.isfinite(b0):
                continue
            c0, c1, c2 = colour[y, x, 0], colour[y, x, 1], colour[y, x, 2]
            var = sigma[y, x] * sigma[y, x] + np.float32(1e-3)
            bb = b0 * b0 + b1 * b1 + b2 * b2
            f = ((c0 * b0 + c1 * b1 + c2 * b2) / var + prior) / (bb / var + prior)
            misfit = ((c0 - f * b0) ** 2 + (c1 - f * b1) ** 2 + (c2 - f * b2) ** 2) / var + (f - 1) ** 2 * prior
            value = -0.5 * misfit - 1.5 * np.log(2 * np.pi * var) - 0.5 * np.log(1 + bb / (prior * var))
            # a cast shadow: any factor between CAST_DARKEST and 1 is as likely
            g = min(
                max((c0 * b0 + c1 * b1 + c2 * b2) / (bb + np.float32(1e-3)), np.float32(CAST_DARKEST)), np.float32(1)
            )
            wide = var + np.float32(CAST_TINT * CAST_TINT / 3) * bb
            off = ((c0 - g * b0) ** 2 + (c1 - g * b1) ** 2 + (c2 - g * b2) ** 2) / wide
            cast = -0.5 * off - np.log(2 * np.pi * wide) - 0.5 * np.log(bb + np.float32(1)) + cast_prior
            high = max(value, floor, cast)
            llr[y, x] = log_object[y, x] - (
                high + np.log(np.exp(value - high) + np.exp(floor - high) + np.exp(cast - high))
            )


def background_log_density(
    colour: np.ndarray, background: np.ndarray, sigma: np.ndarray, shade: float = SHADOW_LOG_SIGMA
) -> np.ndarray:
    """log p(colour | this pixel shows the known background), allowing for a small common brightness factor (shadow).

    The slow readable twin of the kernel above: Gaussian noise times a Gaussian factor about 1, the factor at its maximum, the density
    spread along it; plus a cast shadow, plus an outlier floor.
    """
    var = np.square(sigma) + 1e-3
    bb, cb = np.square(background).sum(-1), (colour * background).sum(-1)
    prior = 1 / shade**2
    factor = (cb / var + prior) / (bb / var + prior)
    misfit = np.square(colour - factor[..., None] * background).sum(-1) / var + np.square(factor - 1) * prior
    log_norm = -1.5 * np.log(2 * np.pi * var) - 0.5 * np.log1p(bb / (prior * var))
    cast, wide = np.clip(cb / (bb + 1e-3), CAST_DARKEST, 1), var + CAST_TINT**2 / 3 * bb
    off = np.square(colour - cast[..., None] * background).sum(-1) / wide
    in_shadow = -0.5 * off - np.log(2 * np.pi * wide) - 0.5 * np.log(bb + 1) + np.log(CAST / (1 - CAST_DARKEST))
    return np.logaddexp(np.logaddexp(-0.5 * misfit + log_norm, np.log(0.02 * UNIFORM)), in_shadow)


def prior_llr(signed_distance: np.ndarray, sigma_px: float, inside: float, outside: float) -> np.ndarray:
    """From a predicted outline: signed distance (H, W) px (positive inside) to at most `inside` or at least -`outside`."""
    x = signed_distance / np.float32(sigma_px)
    return np.where(x > 0, inside * np.tanh(x), outside * np.tanh(x)).astype(np.float32)
