"""Key points of the left picture with their descriptors: what every feature method gives, and SIFT. Learned ones are in `learned`.

A method takes a picture and returns `Keypoints` in that picture's pixels (centres at integers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

GRID_PX = 48
"""cell of the grid over which points are spread, px of the picture that is searched"""
ROOT_ONE = 512
"""stored length of a root descriptor"""
LOW_CONTRAST = 24.0
"""grey levels between the 5th and 95th percentile below which a picture is equalised before detection"""


@dataclass(frozen=True)
class Keypoints:
    """uv (N, 2) float32 px, scale_px (N,) standard deviation of the blob, descriptor (N, D) uint8 (compare by L2)."""

    uv: np.ndarray
    scale_px: np.ndarray
    descriptor: np.ndarray

    def __len__(self) -> int:
        return len(self.uv)


@dataclass(frozen=True)
class Likeness:
    """When two descriptors of a method count as alike. Distances are L2, in units of the stored descriptors."""

    ratio: float
    """best over second best distance that a match of two frames may have"""
    max_distance: float
    """largest distance of a match near its predicted place"""
    alike_ratio: float = 0.8
    """`ratio` of the votes that tell which key frames look alike"""


class FeatureMethod(Protocol):
    """Finds and describes points. `colour`: it sees (H, W, 3) RGB, else (H, W) grey; `max_width_px`: of the picture it was made for, 0 =
    any; `gigabytes_per_megapixel`: working memory worth a check before work."""

    colour: bool
    max_width_px: int
    gigabytes_per_megapixel: float
    likeness: Likeness

    def __call__(self, picture: np.ndarray, inside: np.ndarray, max_inside: int, max_outside: int) -> Keypoints:
        """uint8 and the object's mask (H, W) -> at most `max_inside` points on the object and `max_outside` elsewhere."""
        ...


class Sift:
    """SIFT (Lowe 2004) with root descriptors (Arandjelovic & Zisserman 2012), spread over the picture.

    The contrast threshold is low on purpose: weak corners of a dull object are wanted, and where there are many, the strongest of
    each grid cell win. One orientation per point, so that a track never holds one point twice.
    """

    colour = False
    max_width_px = 0
    gigabytes_per_megapixel = 0.0

    def __init__(self, contrast: float, ratio: float) -> None:
        self.contrast = contrast
        self.likeness = Likeness(ratio, 0.8 * ROOT_ONE)

    def __call__(self, picture: np.ndarray, inside: np.ndarray, max_inside: int, max_outside: int) -> Keypoints:
        """See FeatureMethod; grey."""
        sift = cv2.SIFT_create(
            nfeatures=0,
            nOctaveLayers=3,
            contrastThreshold=self.contrast,
            edgeThreshold=12,
            sigma=1.6,
            enable_precise_upscale=True,
        )
        gray = equalised(picture)
        found = sift.detect(gray, None)
        if not found:
            return Keypoints(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 128), np.uint8))
        uv = np.array([k.pt for k in found], np.float32)
        response = np.array([k.response for k in found], np.float32)
        first = _first_of_each_place(uv, response, np.array([k.angle for k in found], np.float32))
        keep = first[choose(uv[first], response[first], inside, max_inside, max_outside)]
        chosen, descriptor = sift.compute(gray, [found[i] for i in keep])
        descriptor = np.zeros((0, 128), np.float32) if descriptor is None else descriptor
        return Keypoints(
            np.array([k.pt for k in chosen], np.float32).reshape(-1, 2),
            np.array([k.size / 2 for k in chosen], np.float32),
            root(descriptor),
        )


def working_scale(method: FeatureMethod, max_width_px: int, width: int) -> float:
    """By how much a picture `width` px wide is reduced before it is searched, at most 1."""
    return min(1.0, min(max_width_px, method.max_width_px or max_width_px) / width)


def choose(uv: np.ndarray, response: np.ndarray, inside: np.ndarray, max_inside: int, max_outside: int) -> np.ndarray:
    """Indices of the points to keep, spread over the picture, those on the object first. `inside` (H, W) is its mask."""
    pixel = np.clip(np.rint(uv).astype(int), 0, [inside.shape[1] - 1, inside.shape[0] - 1])
    on_object = inside[pixel[:, 1], pixel[:, 0]]
    parts = ((np.flatnonzero(on_object), max_inside), (np.flatnonzero(~on_object), max_outside))
    return np.concatenate([part[spread(uv[part], response[part], most)] for part, most in parts])


def equalised(gray: np.ndarray) -> np.ndarray:
    """The picture, or for a dull or dark one its local equalisation (CLAHE); positions are not moved by it."""
    low, high = np.percentile(gray[::4, ::4], (5, 95))
    return cv2.createCLAHE(3.0, (8, 8)).apply(gray) if high - low < LOW_CONTRAST else gray


def root(descriptor: np.ndarray) -> np.ndarray:
    """Square root of the L1-normalised histogram, (N, 128) -> uint8 with 1.0 stored as ROOT_ONE (entries above 0.5 are saturated)."""
    total = np.maximum(descriptor.sum(1, keepdims=True), 1e-6)
    return np.minimum(np.rint(ROOT_ONE * np.sqrt(descriptor / total)), 255).astype(np.uint8)


def spread(uv: np.ndarray, response: np.ndarray, count: int) -> np.ndarray:
    """Indices of at most `count` points: the strongest of every cell first, then the second strongest, and so on."""
    if len(uv) <= count:
        return np.arange(len(uv))
    cell = (uv // GRID_PX).astype(np.int64)
    key = cell[:, 1] * 100003 + cell[:, 0]
    order = np.lexsort((-response, key))
    sorted_key = key[order]
    start = np.r_[True, sorted_key[1:] != sorted_key[:-1]]
    rank = np.arange(len(key)) - np.maximum.accumulate(np.where(start, np.arange(len(key)), 0))
    return order[np.lexsort((-response[order], rank))][:count]


def _first_of_each_place(uv: np.ndarray, response: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """One index per place (SIFT repeats a point once per strong orientation); sorted, so that the order of detection, which changes with
    the number of threads, does not matter."""
    order = np.lexsort((angle, -response, uv[:, 0], uv[:, 1]))
    place = np.rint(uv[order] * 4).astype(np.int64)
    new = np.r_[True, (np.diff(place, axis=0) != 0).any(1)]
    return order[new]
