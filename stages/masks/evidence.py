"""Per-pixel evidence for object against background, as log-likelihood ratios (positive = object), each with an outlier part.

Nothing here looks at neighbours; `outline.py` turns evidence into outlines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.masks.colour_model import UNIFORM, ColourModel

DISPARITY_OUTLIERS = 0.1
"""share of disparities that say nothing (mismatches that survived their check, borders of the object)"""
SHADOW_LOG_SIGMA = 0.12
"""a background pixel may darken or brighten by about 12 % (soft shadow, reflection, drift) and still be background"""


def depth_llr(
    disparity: np.ndarray, sigma: np.ndarray, near_range: tuple[float, float], background: Sequence[tuple[np.ndarray, float]]
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
    return np.where(np.isfinite(disparity), np.log(p_object / p_background), 0).astype(np.float32)


def colour_llr(
    colour: np.ndarray, model: ColourModel, background: np.ndarray | None = None, background_sigma: np.ndarray | None = None
) -> np.ndarray:
    """(H, W) float32 from the global colour model; where the background's own picture is known (not NaN), from that instead."""
    log_object, log_background = model.log_densities(colour)
    if background is not None:
        known = np.isfinite(background[..., 0])
        log_background = np.where(
            known,
            background_log_density(colour, np.where(known[..., None], background, 0), np.where(known, background_sigma, 1)),
            log_background,
        )
    return (log_object - log_background).astype(np.float32)


def background_log_density(colour: np.ndarray, background: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """log p(colour | this pixel shows the known background), allowing for a small common brightness factor (shadow)."""
    var = np.square(sigma).astype(np.float32) + 1e-3
    bb, cb = np.square(background).sum(-1), (colour * background).sum(-1)
    prior = 1 / SHADOW_LOG_SIGMA**2
    factor = (cb / var + prior) / (bb / var + prior)  # maximum of Gaussian noise times Gaussian factor about 1
    misfit = np.square(colour - factor[..., None] * background).sum(-1) / var + np.square(factor - 1) * prior
    # the factor integrates out one direction: the density is spread over bb * SHADOW^2 along it
    log_norm = -1.5 * np.log(2 * np.pi * var) - 0.5 * np.log1p(bb * SHADOW_LOG_SIGMA**2 / var)
    return np.logaddexp(-0.5 * misfit + log_norm, np.float32(np.log(0.02 * UNIFORM)))


def prior_llr(signed_distance: np.ndarray, sigma_px: float, inside: float, outside: float) -> np.ndarray:
    """From a predicted outline: signed distance (H, W) px (positive inside) to at most `inside` or at least -`outside`."""
    x = signed_distance / np.float32(sigma_px)
    return np.where(x > 0, inside * np.tanh(x), outside * np.tanh(x)).astype(np.float32)
