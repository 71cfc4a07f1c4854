"""How the background's picture moves from frame to frame (a homography), so that earlier frames show what lies behind the object now."""

from __future__ import annotations

import cv2
import numpy as np

MIN_TRACKS = 30
REPROJECTION_PX = 2.0


def background_homography(before: np.ndarray, now: np.ndarray, outside: np.ndarray) -> np.ndarray | None:
    """now_from_before (3, 3) from corners tracked in `outside` (h, w) bool of the (h, w) uint8 pictures; None when too few agree."""
    corners = cv2.goodFeaturesToTrack(before, 600, 0.005, 6, mask=outside.astype(np.uint8))
    if corners is None or len(corners) < MIN_TRACKS:
        return None
    moved, ok, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, None, winSize=(17, 17), maxLevel=4)
    back, ok2, _ = cv2.calcOpticalFlowPyrLK(now, before, moved, None, winSize=(17, 17), maxLevel=4)
    good = (ok.ravel() > 0) & (ok2.ravel() > 0) & (np.linalg.norm((back - corners).reshape(-1, 2), axis=1) < 0.7)
    if good.sum() < MIN_TRACKS:
        return None
    cv2.setRNGSeed(0)
    h, inlier = cv2.findHomography(corners[good], moved[good], cv2.RANSAC, REPROJECTION_PX)
    return h if h is not None and inlier.sum() >= max(MIN_TRACKS, 0.4 * good.sum()) else None


def at_scale(homography: np.ndarray, scale: float) -> np.ndarray:
    """A homography between small pictures as one between pictures 1/scale times as large (pixel centres at integers)."""
    s = np.array([[scale, 0, 0.5 * scale - 0.5], [0, scale, 0.5 * scale - 0.5], [0, 0, 1]])
    return np.linalg.inv(s) @ homography @ s


def seen_behind(
    earlier: list[tuple[np.ndarray, np.ndarray, np.ndarray]], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What the background looks like now: rgb (H, W, 3) float32, NaN = never seen, and its scatter (H, W).

    `earlier`: (rgb (H, W, 3) uint8, mask (H, W) bool, now_from_earlier (3, 3)). Where several frames saw a pixel's background, their
    mean, and their disagreement adds to the scatter; so does the picture's slope, for the registration is good to about a pixel.
    """
    h, w = shape
    total, square, count = np.zeros((h, w, 3), np.float32), np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)
    kernel = np.ones((13, 13), np.uint8)
    for rgb, mask, homography in earlier:
        free = (cv2.dilate(mask.astype(np.uint8), kernel) == 0).astype(np.uint8)
        seen = cv2.warpPerspective(free, homography, (w, h), flags=cv2.INTER_NEAREST).astype(np.float32)
        warped = cv2.warpPerspective(rgb, homography, (w, h)).astype(np.float32)
        total += warped * seen[..., None]
        square += np.square(warped).sum(-1) * seen
        count += seen
    mean = total / np.maximum(count, 1)[..., None]
    spread = np.sqrt(np.maximum(square / np.maximum(count, 1) - np.square(mean).sum(-1), 0) / 3)
    gray = cv2.GaussianBlur(mean.mean(-1), (0, 0), 1.0)
    slope = np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1)) / 8
    mean[count == 0] = np.nan
    return mean, (4 + spread + slope).astype(np.float32)


def motion_llr(
    before: np.ndarray, now: np.ndarray, inside: np.ndarray, background: np.ndarray, noise: float = 6.0
) -> np.ndarray | None:
    """(h, w) float32: does a pixel of `now` move as the object (positive) or as the background (negative)?

    before, now (h, w) uint8; `inside` (h, w) bool: about where the object is in `before`; `background` (3, 3) now_from_before. Both
    layers predict the picture, and the one with the smaller residual in a small window wins (Wang and Adelson 1994). None when the
    object's own motion cannot be told from the background's.
    """
    corners = cv2.goodFeaturesToTrack(before, 400, 0.005, 4, mask=inside.astype(np.uint8))
    if corners is None or len(corners) < 12:
        return None
    moved, ok, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, None, winSize=(13, 13), maxLevel=3)
    still = cv2.perspectiveTransform(corners, background)
    own = (ok.ravel() > 0) & (np.linalg.norm((moved - still).reshape(-1, 2), axis=1) > 1.0)
    if own.sum() < 12:
        return None
    cv2.setRNGSeed(0)
    affine, inlier = cv2.estimateAffine2D(corners[own], moved[own], method=cv2.RANSAC, ransacReprojThreshold=1.5)
    if affine is None or inlier.sum() < max(10, 0.4 * own.sum()):
        return None
    h, w = now.shape
    as_object = cv2.warpAffine(before, affine, (w, h), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    as_background = cv2.warpPerspective(before, background, (w, h), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)

    def residual(predicted):
        return cv2.boxFilter(np.minimum(np.square(now - predicted), (4 * noise) ** 2), -1, (5, 5))

    return np.clip((residual(as_background) - residual(as_object)) / (2 * noise**2), -3, 3)
