"""Per-view exposure: one gain per picture and colour channel, solved jointly from surface points that several pictures see.

Gains act on linear light, where exposure is a factor; pictures are sRGB. The model is log I_vp + g_v = log c_p with the point's colour
c_p eliminated, weighted least squares re-weighted against outliers (Cauchy), as in Brown and Lowe 2007 (gain compensation).
"""

from __future__ import annotations

import numpy as np

_DARKEST, _BRIGHTEST = 8.0, 250.0
_PRIOR = 1e-3
"""pull towards gain 1, as a share of a view's own weight: keeps views that share no point with the rest where they are"""


def linear_from_srgb(level: np.ndarray) -> np.ndarray:
    """Grey levels 0-255 (sRGB, IEC 61966-2-1) -> linear light 0-1."""
    s = np.asarray(level, np.float64) / 255
    return np.where(s <= 0.04045, s / 12.92, ((np.maximum(s, 0) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: np.ndarray) -> np.ndarray:
    """Linear light 0-1 -> grey levels 0-255."""
    x = np.clip(np.asarray(light, np.float64), 0, 1)
    return 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def gain_tables(gain: np.ndarray) -> np.ndarray:
    """(3,) linear-light gains -> (3, 257) float32: the compensated grey level of each grey level (last entry repeated)."""
    light = linear_from_srgb(np.minimum(np.arange(257), 255))
    return srgb_from_linear(light[None] * np.asarray(gain, float)[:, None]).astype(np.float32)


def solve_gains(colours: np.ndarray, weights: np.ndarray, iterations: int = 12) -> np.ndarray:
    """(V, N, 3) grey levels and (V, N) weights (0 = not seen) -> (V, 3) linear-light gains; the median gain of a channel is 1."""
    gains = np.ones((len(colours), 3))
    for channel in range(3):
        level = colours[:, :, channel]
        use = (weights > 0) & (level > _DARKEST) & (level < _BRIGHTEST)
        use &= use.sum(0) >= 2
        log = np.log(np.maximum(linear_from_srgb(level), 1e-6))
        g = _solve_logs(log, np.where(use, weights / max(weights.max(), 1e-30), 0.0), iterations)
        gains[:, channel] = np.exp(g - np.median(g))
    return gains


def fit_gain(levels: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3,) linear-light gain that brings `levels` (N, 3) to `target` (N, 3), grey levels: median of the log ratio, 1 without data."""
    use = (np.minimum(levels, target) > _DARKEST) & (np.maximum(levels, target) < _BRIGHTEST)
    ratio = np.log(np.maximum(linear_from_srgb(target), 1e-6)) - np.log(np.maximum(linear_from_srgb(levels), 1e-6))
    return np.array([np.exp(np.median(ratio[use[:, c], c])) if use[:, c].any() else 1.0 for c in range(3)])


def _solve_logs(log: np.ndarray, weight: np.ndarray, iterations: int) -> np.ndarray:
    """(V, N) log values and weights -> (V,) offsets; the point colours are the weighted means of what is compensated."""
    g = np.zeros(len(log))
    robust = weight.copy()
    for _ in range(iterations):
        total = np.maximum(robust.sum(0), 1e-30)
        own = robust.sum(1)
        normal = np.diag(own * (1 + _PRIOR) + 1e-12) - (robust / total) @ robust.T
        mean = (robust * log).sum(0) / total
        g = np.linalg.solve(normal, -(robust * (log - mean)).sum(1))
        residual = log + g[:, None] - (robust * (log + g[:, None])).sum(0) / total
        used = np.abs(residual[weight > 0])
        scale = max(1.4826 * float(np.median(used)) if used.size else 0.0, 0.01)
        robust = weight / (1 + (residual / (2.4 * scale)) ** 2)
    return g
