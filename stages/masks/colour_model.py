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


@dataclass(frozen=True)
class ColourModel:
    """Log densities of object and background on a (BINS,)*3 grid of the colour cube."""

    log_object: np.ndarray
    log_background: np.ndarray

    def log_densities(self, colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(..., 3) -> log p(colour | object), log p(colour | background), each (...) float32."""
        index = colour_index(colour)
        return self.log_object.ravel()[index], self.log_background.ravel()[index]

    def llr(self, colour: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) float32, log p(object) - log p(background)."""
        a, b = self.log_densities(colour)
        return a - b


def colour_index(colour: np.ndarray) -> np.ndarray:
    """(..., 3) colours 0-255 -> (...) int32 flat bin."""
    c = (colour * np.float32(BINS / 256)).astype(np.int32)
    np.clip(c, 0, BINS - 1, out=c)
    return (c[..., 0] * BINS + c[..., 1]) * BINS + c[..., 2]


def histogram(colour: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """(N, 3) colours -> (BINS,)*3 float32 counts."""
    return np.bincount(colour_index(colour), weight, BINS**3).astype(np.float32).reshape(BINS, BINS, BINS)


def model_from_histograms(of_object: np.ndarray, of_background: np.ndarray) -> ColourModel:
    """Blur the counts by one bin (the kernel of a density estimate) and mix in the uniform density."""
    return ColourModel(_log_density(of_object), _log_density(of_background))


def _log_density(counts: np.ndarray, sigma_bins: float = 0.8) -> np.ndarray:
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
    radius_px: int,
    noise: float,
    background: np.ndarray | None = None,
    background_sigma: np.ndarray | None = None,
) -> np.ndarray:
    """log p(object) - log p(background) from the colours within `radius_px` (Lankton and Tannenbaum 2008, with variances).

    colour (H, W, 3); is_object, is_background (H, W) bool: pixels that are certain. `background` (H, W, 3, NaN = unknown) with
    `background_sigma` (H, W) replaces the local background where it is known. Returns (H, W) float32; 0 where either side is unknown.
    """
    mean_o, var_o, has_o = _local_gaussian(colour, is_object, radius_px, noise)
    mean_b, var_b, has_b = _local_gaussian(colour, is_background, radius_px, noise)
    if background is not None:
        known = np.isfinite(background[..., 0])
        mean_b[known] = background[known]
        var_b[known] = np.maximum(background_sigma[known, None], noise) ** 2
        has_b |= known
    score = _log_gaussian(colour, mean_o, var_o) - _log_gaussian(colour, mean_b, var_b)
    return np.where(has_o & has_b, score, np.float32(0))


def _local_gaussian(colour: np.ndarray, where: np.ndarray, radius: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    w = where.astype(np.float32)
    size = (2 * radius + 1, 2 * radius + 1)
    box = lambda a: cv2.boxFilter(a, -1, size, normalize=True, borderType=cv2.BORDER_CONSTANT)  # noqa: E731
    total = box(w)
    inverse = 1 / np.maximum(total, 1e-6)[..., None]
    mean = box(colour * w[..., None]) * inverse
    var = box(np.square(colour) * w[..., None]) * inverse - np.square(mean)
    return mean, np.maximum(var, 0) + np.float32(noise**2), total * size[0] * size[1] >= 12


def _log_gaussian(x: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Sum over channels, with a floor (an outlier density) so that no single pixel can outvote its neighbours."""
    value = (-0.5 * (np.square(x - mean) / var + np.log(2 * np.pi * var))).sum(-1)
    return np.logaddexp(value, np.float32(np.log(0.02 * UNIFORM)))


def decorrelated(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> float32 YCrCb: nearly independent channels, which the diagonal Gaussians above assume."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(np.float32)
