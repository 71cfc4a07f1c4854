"""How far off a vertex has to be expected, from the confidence that the surface stage gave it.

Confidence says how well the views that read a place agree with the size of a pixel there (stages/surface/shape/meshing.py). The table turns
it into a distance; it was measured on rendered captures and is checked by `make bench-verdict`, with the figures in docs/benchmarks.md.
"""

from __future__ import annotations

import numpy as np

CONFIDENCE = np.array([0.05, 0.20, 0.25, 0.45, 0.65, 0.85, 0.95])
MEDIAN_PX = np.array([2.00, 0.63, 0.50, 0.45, 0.38, 0.32, 0.19])
"""median distance from the true surface, in pixels on the object (its size at the object's distance)"""
P95_PX = np.array([20.0, 2.80, 3.30, 2.60, 2.20, 1.80, 1.00])
"""the distance that 95 of 100 vertices of that confidence keep"""


def expected_error(confidence: np.ndarray, pixel_m: float) -> np.ndarray:
    """(V,) median distance from the true surface to be expected, metres; NaN where no camera looked (confidence 0): nothing is known."""
    return np.where(confidence > 0, pixel_m * np.interp(confidence, CONFIDENCE, MEDIAN_PX), np.nan)


def error_level(confidence: np.ndarray) -> np.ndarray:
    """(V,) for a picture: 1 where the least error is to be expected, falling with its logarithm to 0.01; 0 where no camera looked."""
    error = np.interp(confidence, CONFIDENCE, MEDIAN_PX)
    level = np.log(MEDIAN_PX.max() / error) / np.log(MEDIAN_PX.max() / MEDIAN_PX.min())
    return np.where(confidence > 0, np.clip(level, 0.01, 1.0), 0.0)


def legend_mm(pixel_mm: float) -> tuple[float, float, float]:
    """Expected error at level 1, 0.5 and 0."""
    best, worst = pixel_mm * MEDIAN_PX.min(), pixel_mm * MEDIAN_PX.max()
    return float(best), float(np.sqrt(best * worst)), float(worst)


def summary_mm(confidence: np.ndarray, weight: np.ndarray, pixel_m: float) -> tuple[float, float] | None:
    """(median, 95 %) mm over the seen surface, `weight` (V,) its area; None where nothing was seen.

    Errors of one confidence are taken as a two-sided exponential with the table's 95 %, or its median where that is more cautious: their
    mixture over all vertices has the two figures.
    """
    seen = (confidence > 0) & (weight > 0)
    if not seen.any():
        return None
    c, w = confidence[seen], weight[seen] / weight[seen].sum()
    half = np.interp(c, CONFIDENCE, MEDIAN_PX)
    # Weibull: its shape k follows from the two quantiles, (p95 / median) = (ln 20 / ln 2) ** (1 / k)
    k = np.log(np.log(20) / np.log(2)) / np.log(np.interp(c, CONFIDENCE, P95_PX) / half)
    scale = half / np.log(2) ** (1 / k)
    return tuple(1000 * pixel_m * _quantile(q, scale, k, w) for q in (0.5, 0.95))  # type: ignore[return-value]


def _quantile(q: float, scale: np.ndarray, k: np.ndarray, weight: np.ndarray) -> float:
    """Of the mixture of Weibull distributions, by bisection."""
    low, high = 0.0, 100.0
    for _ in range(50):
        middle = (low + high) / 2
        below = float((weight * (1 - np.exp(-((middle / scale) ** k)))).sum())
        low, high = (middle, high) if below < q else (low, middle)
    return (low + high) / 2
