"""How far depth can be trusted: the sensor's noise, the slope it is seen under, and edges, whose pixels mix what is near and far."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig

EVEN_PX = 0.15
"""standard deviation of disparity at the object's distance: the noise that stages made for pairs of pictures are made for"""
LEAST_PX, MOST_PX = 6.0, 900.0
"""disparity at the middle at least, of what is nearest at most: the files end at 1023 px"""
KINK = 0.01
"""second differences above this share of the depth are edges, not noise"""


@dataclass(frozen=True)
class NoiseModel:
    """sigma(z) = sqrt(floor^2 + (at_1m z^2)^2), metres."""

    floor_m: float
    at_1m_m: float
    lateral_px: float

    def sigma_m(self, z: np.ndarray | float) -> np.ndarray:
        """Standard deviation of depth z (metres)."""
        return np.hypot(self.floor_m, self.at_1m_m * np.square(z))

    def baseline_m(self, rig: Rig, middle_m: float, nearest_m: float) -> float:
        """Of the pair whose disparities are as noisy as this depth: it measures nothing."""
        even = EVEN_PX * middle_m**2 / (rig.fx * float(self.sigma_m(middle_m)))
        return float(np.clip(even, LEAST_PX * middle_m / rig.fx, MOST_PX * nearest_m / rig.fx))

    def sigma_px(self, rig: Rig, disparity: np.ndarray) -> np.ndarray:
        """(H, W) px of a disparity (H, W), NaN = none: the sensor's, and that of a slope seen half a pixel beside its place."""
        z = rig.depth_from_disparity(disparity)
        with np.errstate(invalid="ignore", divide="ignore"):
            sensor = disparity / z * self.sigma_m(z)
        known = np.isfinite(disparity)
        filled = np.where(known, disparity, 0).astype(np.float32)
        weight = cv2.blur(known.astype(np.float32), (5, 5))
        smooth = cv2.blur(filled, (5, 5)) / np.maximum(weight, 1e-6)
        slope = np.hypot(np.gradient(smooth, axis=0), np.gradient(smooth, axis=1))
        whole = cv2.erode(known.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        return np.where(known, np.hypot(sensor, self.lateral_px * np.where(whole, slope, 0)), np.nan)


def without_edges(z: np.ndarray, share: float) -> np.ndarray:
    """(H, W) metres: pixels beside a step by more than `share` of the depth are none."""
    far, near = (
        np.where(np.isfinite(z), z, -np.inf).astype(np.float32),
        np.where(np.isfinite(z), z, np.inf).astype(np.float32),
    )
    kernel = np.ones((3, 3), np.uint8)
    most, least = cv2.dilate(far, kernel), cv2.erode(near, kernel)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(most - least > share * least, np.float32(np.nan), z)


def measured_noise_m(z: np.ndarray) -> float:
    """Standard deviation that neighbouring pixels show, metres; NaN with too few. Noise that neighbours share does not show."""
    second = z[:, :-2] - 2 * z[:, 1:-1] + z[:, 2:]
    with np.errstate(invalid="ignore"):
        flat = np.abs(second) < KINK * z[:, 1:-1]
    return float(1.4826 * np.median(np.abs(second[flat])) / np.sqrt(6)) if flat.sum() > 500 else float("nan")
