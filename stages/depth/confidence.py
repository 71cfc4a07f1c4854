"""From what the plate model claims to what errors really are: the calibrated standard deviation."""

from __future__ import annotations

import cv2
import numpy as np

from stages.depth.guess import Guess

NAMES = ("constant", "log plate sigma", "log misfit", "missing support", "missing support around", "log slope")
COEFFICIENTS = (0.164, 1.197, 0.251, 1.640, 0.606, 1.155)
"""Of the logarithm of sigma in px, for the features of the same place. Fitted by `python -m tools.calibrate_depth` on 24 generated scenes
(seed 7), never on captures: the likelihood of a Gaussian of this sigma mixed with gross mismatches, then the constant raised until
2 sigma cover 95 % of what is not grossly wrong."""
GUESSED_NAMES = (*NAMES, "log network sigma", "log distance from the network")
GUESSED = (-1.595, 0.325, 0.170, 0.784, 0.000, 0.852, 0.926, 1.301)
"""The same where a network's guess took part: `python -m tools.calibrate_depth --method hybrid --scenes 16`."""
FLOOR_PX = 0.05
"""px; what no texture takes away"""


def features(
    plate_sigma_px: np.ndarray, misfit: np.ndarray, support: np.ndarray, disparity_px: np.ndarray
) -> np.ndarray:
    """(H, W, len(NAMES)) float32 what sigma is predicted from; all inputs (H, W) float32."""
    smooth = cv2.GaussianBlur(disparity_px, (0, 0), 1.5)
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8))
    misfit = cv2.blur(misfit, (7, 7))
    around = cv2.erode(cv2.blur(support, (9, 9)), np.ones((3, 3)), iterations=4)
    measured = np.log(plate_sigma_px), np.log1p(misfit), 1 - support, 1 - around, np.log1p(4 * slope)
    return np.stack((np.ones_like(support), *measured), -1)


def with_guess(found: np.ndarray, disparity_px: np.ndarray, guess: Guess) -> np.ndarray:
    """(H, W, len(NAMES)) features and what a network says at the same size -> (H, W, len(GUESSED_NAMES)) float32."""
    sigma = np.sqrt(guess.variance)
    distance = np.abs(disparity_px - guess.disparity_px)
    return np.dstack((found, np.log(sigma), np.log1p(distance / sigma))).astype(np.float32)


def calibrated_sigma(found: np.ndarray, coefficients: tuple[float, ...] = COEFFICIENTS) -> np.ndarray:
    """(H, W, n) features and their coefficients -> (H, W) float32 standard deviation of the disparity, px."""
    model = np.exp(found @ np.array(coefficients, np.float32))
    return np.sqrt(FLOOR_PX**2 + model**2).astype(np.float32)
