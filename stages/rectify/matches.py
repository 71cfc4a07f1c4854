"""Sparse matches between the two raw pictures of a pair, for the checks that need them: row offset, swapped sides."""

from __future__ import annotations

import cv2
import numpy as np

MAX_PIXELS = 400_000
"""larger pictures are matched at a reduced size: SIFT doubles it again, and on 720p to 2 MP captures medians agree to 0.01 px"""
MATCH_WORKERS = 8
"""pairs at a time at most: the scale space of one picture of `MAX_PIXELS` takes 100 MB"""
MAX_FEATURES = 2000
RATIO = 0.75
"""Lowe 2004"""
Features = tuple[np.ndarray, np.ndarray]
"""(N, 2) px and (N, 128)"""


def match_pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(M, 4) float64 raw px (u, v left, u, v right): SIFT, mutual nearest neighbours that pass the ratio test. Grey or BGR uint8."""
    return match_features(features(left), features(right))


def match_features(left: Features, right: Features) -> np.ndarray:
    """`match_pair` of features found before."""
    (u_left, d_left), (u_right, d_right) = left, right
    if len(u_left) < 2 or len(u_right) < 2:
        return np.zeros((0, 4))
    distance = np.maximum(2.0 - 2.0 * (d_left @ d_right.T), 0.0)
    best, back = distance.argmin(1), distance.argmin(0)
    two = np.partition(distance, 1, axis=1)
    good = (back[best] == np.arange(len(best))) & (two[:, 0] < RATIO**2 * two[:, 1])
    return np.hstack([u_left[good], u_right[best[good]]])


def features(image: np.ndarray) -> Features:
    """(N, 2) positions in px of the given picture and (N, 128) unit descriptors."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    scale = min(1.0, float(np.sqrt(MAX_PIXELS / gray.size)))
    small = gray if scale == 1 else cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points, descriptors = cv2.SIFT_create(MAX_FEATURES).detectAndCompute(small, None)
    if descriptors is None:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    exact = np.array([gray.shape[1] / small.shape[1], gray.shape[0] / small.shape[0]])
    position = (np.array([p.pt for p in points], np.float64) + 0.5) * exact - 0.5  # pixel centres at integers
    return position, descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-9)
