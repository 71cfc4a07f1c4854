"""A network's disparity joined with that of matching: each pixel by their variances, so that flat areas come from the one and texture
from the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MATCHED_VARIANCE, _LEAST_TEXTURE = 0.5, 0.003
"""px^2 of a confirmed integer disparity on texture; divided by the texture's strength, at least this."""
_UNMATCHED_VARIANCE = 400.0
"""px^2 where both eyes' winners disagree."""
_CONTRADICTED = 16.0
"""Factor on the network's variance where its pass for the right eye says otherwise."""
_COMPATIBLE_SIGMAS = 2.0
"""Two values closer than this are one surface seen twice and are averaged; else the surer one stands."""
_NEIGHBOURS = 300.0
"""Pixels over which an error of the network is the same: so many times less is each one's information."""


@dataclass(frozen=True)
class Guess:
    """What a network says of the left picture, (h, w) each; px of that size."""

    disparity_px: np.ndarray
    sigma_px: np.ndarray
    confirmed: np.ndarray
    """bool: the right eye's pass says the same"""

    @property
    def variance(self) -> np.ndarray:
        """px^2, with what the other pass thinks of it."""
        return self.sigma_px**2 * np.where(self.confirmed, np.float32(1), np.float32(_CONTRADICTED))

    @property
    def information(self) -> np.ndarray:
        """Per pixel, 1/px^2, as the plate takes it: errors shared by neighbours do not count again."""
        return 1 / (_NEIGHBOURS * (self.variance + np.float32(0.01)))

    @property
    def certainty(self) -> np.ndarray:
        """1 where the network is sure within a fraction of a pixel, 0 where it knows nothing."""
        return 1 / (1 + self.variance)


def joined(
    disparity_px: np.ndarray, consistent: np.ndarray, texture: np.ndarray, guess: Guess
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) matching result with what is known of it, and the guess -> (H, W) float32 disparity and bool "confirmed by either"."""
    matched = np.where(consistent, _MATCHED_VARIANCE / np.maximum(texture, _LEAST_TEXTURE), _UNMATCHED_VARIANCE)
    other = guess.variance
    same = (disparity_px - guess.disparity_px) ** 2 < _COMPATIBLE_SIGMAS**2 * (matched + other)
    mean = (disparity_px * other + guess.disparity_px * matched) / (matched + other)
    surer = np.where(other < matched, guess.disparity_px, disparity_px)
    return np.where(same, mean, surer).astype(np.float32), consistent | (guess.confirmed & (other < matched))
