"""Colour as evidence: smoothed histograms over the whole object and background, and local Gaussians along the outline.

Colours are (H, W, 3) float32 in 0-255. Densities are per unit of that colour cube, so a histogram and a Gaussian can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BINS = 32
UNIFORM = 256.0**-3
"""density of "any colour": the outlier part of every mixture"""
OUTLIERS = 0.15
"""share of the uniform density in a histogram model: an unseen colour must not decide"""
CAST = 0.1
"""share of the background that may lie in a cast shadow"""
CAST_FACTORS = tuple(0.4 + 0.05 * k for k in range(12))
"""how a cast shadow may darken a colour (grey levels, not light)"""
MIXING = 0.3
"""scatter of a pixel on the outline, as a share of the difference between the two sides (a uniform mixture has 1 / sqrt(12))"""


@dataclass(frozen=True)
class ColourModel:
    """Log densities of object and background on a (BINS,)*3 grid of the colour cube."""

    log_object: np.ndarray
    log_background: np.ndarray
    log_other: np.ndarray | None = None
    """of a thing that is as near as the object and not it (other_foreground.py); None = there is none"""

    def log_densities(self, colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(..., 3) -> log p(colour | object), log p(colour | background), each (...) float32."""
        index = colour_index(colour)
        return self.log_object.ravel()[index], self.log_background.ravel()[index]

    def llr(self, colour: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) float32, log p(object) - log p(background)."""
        a, b = self.log_densities(colour)
        return a - b

    def joined_by(self, background: np.ndarray) -> ColourModel:
        """The model with half of its background from other (N, 3) colours: those round the object in the frame at hand."""
        here = log_density(histogram(background))
        return ColourModel(
            self.log_object, np.logaddexp(self.log_background, here) - np.float32(np.log(2)), self.log_other
        )


def colour_index(colour: np.ndarray) -> np.ndarray:
    """(..., 3) colours 0-255 -> (...) int32 flat bin."""
    c = (colour * np.float32(BINS / 256)).astype(np.int32)
    np.clip(c, 0, BINS - 1, out=c)
    return (c[..., 0] * BINS + c[..., 1]) * BINS + c[..., 2]


def histogram(colour: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """(N, 3) colours -> (BINS,)*3 float32 counts."""
    return np.bincount(colour_index(colour), weight, BINS**3).astype(np.float32).reshape(BINS, BINS, BINS)


def density_above_uniform(counts: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(BINS,)*3 counts and (..., 3) colours -> (...) log of their density over the uniform density."""
    return log_density(counts).ravel()[colour_index(colour)] - np.float32(np.log(UNIFORM))


def similarity(a: np.ndarray, b: np.ndarray, bins: int = 8) -> float:
    """Bhattacharyya coefficient (0-1) of two histograms (BINS,)*3, on `bins` bins a channel (8, 16 or 32)."""
    each = BINS // bins

    def coarse(h):
        return h.reshape(bins, each, bins, each, bins, each).sum((1, 3, 5)).ravel()

    return float(np.sqrt(coarse(a) * coarse(b)).sum() / max(np.sqrt(float(a.sum()) * float(b.sum())), 1e-6))


def likeness(rgb: np.ndarray, where: np.ndarray, counts: np.ndarray) -> float:
    """`similarity` of the colours of a picture (H, W, 3) uint8 within `where` (H, W) bool and counted ones."""
    return similarity(histogram(rgb[where].astype(np.float32)), counts)


def model_from_histograms(
    of_object: np.ndarray, of_background: np.ndarray, of_other: np.ndarray | None = None
) -> ColourModel:
    """Blur the counts by one bin (the kernel of a density estimate) and mix in the uniform density."""
    log_other = None if of_other is None else log_density(of_other)
    return ColourModel(log_density(of_object), log_density(with_shadows(of_background)), log_other)


def with_shadows(of_background: np.ndarray) -> np.ndarray:
    """Counts (BINS,)*3 with a share `CAST` of them darkened as cast shadows do: one that falls beside the object is still background."""
    at = np.nonzero(of_background > 1e-4 * of_background.sum())
    centre, count = (np.stack(at, 1) + 0.5) * (256 / BINS), of_background[at]
    if not len(count):
        return of_background
    darker = np.concatenate([f * centre for f in CAST_FACTORS])
    cast = histogram(darker.astype(np.float32), np.tile(count, len(CAST_FACTORS)) / len(CAST_FACTORS))
    return (1 - CAST) * of_background + CAST * cast


def log_density(counts: np.ndarray, sigma_bins: float = 0.8) -> np.ndarray:
    """(BINS,)*3 counts -> log densities, blurred by about a bin, with the uniform density mixed in."""
    k = cv2.getGaussianKernel(7, sigma_bins, cv2.CV_32F)
    flat = counts.reshape(BINS, BINS * BINS)
    flat = cv2.sepFilter2D(flat, -1, np.ones((1, 1), np.float32), k, borderType=cv2.BORDER_REPLICATE)  # first axis
    cube = np.ascontiguousarray(flat.reshape(BINS * BINS, BINS))
    cube = cv2.sepFilter2D(cube, -1, k, np.ones((1, 1), np.float32), borderType=cv2.BORDER_REPLICATE)  # last axis
    cube = np.ascontiguousarray(cube.reshape(BINS, BINS, BINS).transpose(1, 0, 2).reshape(BINS, BINS * BINS))
    cube = cv2.sepFilter2D(cube, -1, np.ones((1, 1), np.float32), k, borderType=cv2.BORDER_REPLICATE)  # middle axis
    cube = cube.reshape(BINS, BINS, BINS).transpose(1, 0, 2)
    density = cube / max(float(cube.sum()), 1e-6) * (BINS / 256) ** 3
    return np.log((1 - OUTLIERS) * density + OUTLIERS * UNIFORM).astype(np.float32)


def local_llr(
    colour: np.ndarray,
    is_object: np.ndarray,
    is_background: np.ndarray,
    band: np.ndarray,
    radius_px: int,
    noise: float,
    background: np.ndarray | None = None,
    background_sigma: np.ndarray | None = None,
) -> np.ndarray:
    """log p(object) - log p(background) from the colours within `radius_px` (Lankton and Tannenbaum 2008, with variances).

    colour (H, W, 3); is_object, is_background, band (H, W) bool: pixels that are certain, and those to score. `background`
    (H, W, 3, NaN = unknown) with `background_sigma` (H, W) replaces the local background where it is known. Returns (N,) float32 in
    the order of np.nonzero(band); 0 where either side is unknown.
    """
    ys, xs = np.nonzero(band)
    mean_o, var_o, has_o = _local_gaussian(colour, is_object, ys, xs, radius_px, noise)
    mean_b, var_b, has_b = _local_gaussian(colour, is_background, ys, xs, radius_px, noise)
    if background is not None:
        exact = background[ys, xs]
        known = np.isfinite(exact[:, 0])
        mean_b[known] = exact[known]
        var_b[known] = np.maximum(background_sigma[ys, xs][known, None], noise) ** 2
        has_b |= known
    # a pixel on the outline shows a mixture of both: as much scatter for either side, so that the halves meet in the middle
    mixing = np.square(MIXING * (mean_o - mean_b))
    x = colour[ys, xs]
    var_o, beyond = var_o + mixing, (x - mean_b) * (mean_o - mean_b) < 0
    if (
        background is not None
    ):  # no mixture has more of the background than all of it: a shaded side darker than the wall is no wall
        var_b = var_b + np.where(known[:, None] & beyond, 0, mixing)
    else:
        var_b = var_b + mixing
    return np.where(has_o & has_b, _log_gaussian(x, mean_o, var_o) - _log_gaussian(x, mean_b, var_b), np.float32(0))


def _local_gaussian(
    colour: np.ndarray, where: np.ndarray, ys: np.ndarray, xs: np.ndarray, radius: int, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance (N, 3) of the marked colours round each place, and whether there are enough; from every step-th pixel."""
    step = max(2, radius // 7)
    weight, sample = where[::step, ::step].astype(np.float32), colour[::step, ::step]
    size = 2 * max(1, round(radius / step)) + 1
    stack = (weight, sample * weight[..., None], np.square(sample) * weight[..., None])
    total = np.dstack([cv2.boxFilter(c, -1, (size, size), borderType=cv2.BORDER_CONSTANT) for c in stack])
    at = total[
        np.minimum((ys + step // 2) // step, total.shape[0] - 1),
        np.minimum((xs + step // 2) // step, total.shape[1] - 1),
    ]
    mean = at[:, 1:4] / np.maximum(at[:, :1], 1e-6)
    var = at[:, 4:] / np.maximum(at[:, :1], 1e-6) - np.square(mean)
    return mean, np.maximum(var, 0) + np.float32(noise**2), at[:, 0] * (size * size) >= 6


def _log_gaussian(x: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """(N,) sum over channels, with a floor (an outlier density) so that no single pixel can outvote its neighbours."""
    value = (-0.5 * (np.square(x - mean) / var + np.log(2 * np.pi * var))).sum(-1)
    return np.logaddexp(value, np.float32(np.log(0.02 * UNIFORM)))


def decorrelated(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB 0-255 -> float32 YCrCb: nearly independent channels, which the diagonal Gaussians above assume."""
    if rgb.dtype != np.uint8:
        return cv2.cvtColor((rgb / 255).astype(np.float32), cv2.COLOR_RGB2YCrCb) * 255
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(np.float32)
