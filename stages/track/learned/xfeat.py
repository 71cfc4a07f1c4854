"""XFeat features by onnxruntime (track.method=xfeat; Potje et al. 2024, "XFeat: Accelerated Features for Lightweight Image Matching").

The export expects RGB (1, 3, 640, 360) float32: portrait, one size; the range does not matter, since the network averages the channels and
normalises the instance. It reduces the width to 352 (a multiple of 32) inside and scales its key points back; they are px of the 640 x 360
with pixel centres at integers up to 0.01 px. Descriptors are 64 long, length 1; at most 1,024 points come back, strongest first.

A picture is not squeezed into that shape: it is covered by upright tiles that share a margin, and each place takes the points of the tile
whose middle is nearest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.track.learned.onnx_session import OnnxSession
from stages.track.learned.packing import LIKENESS, keypoints
from stages.track.points.features import Keypoints

MARGIN_PX = 32
"""what neighbouring tiles share at the least: half of it is how far a descriptor looks"""
INNER_MULTIPLE = 32
"""the export reduces its input to multiples of this"""


class XFeatFeatures:
    """See FeatureMethod."""

    colour = True
    max_width_px = 1600
    gigabytes_per_megapixel = 0.0
    likeness = LIKENESS

    def __init__(self, path: Path) -> None:
        self._session = OnnxSession(path, ("images",), ("keypoints", "descriptors", "scores"))
        self._height, self._width = self._session.shape("images")[2:]

    def __call__(self, picture: np.ndarray, inside: np.ndarray, max_inside: int, max_outside: int) -> Keypoints:
        """See FeatureMethod; (H, W, 3) RGB."""
        rows, columns = (
            tiles(picture.shape[0], self._height, MARGIN_PX),
            tiles(picture.shape[1], self._width, MARGIN_PX),
        )
        found = [self._tile(picture, y, x, rows, columns) for y in rows for x in columns]
        uv, descriptor, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return keypoints(uv, score, lambda keep: descriptor[keep], inside, max_inside, max_outside)

    def _tile(self, picture: np.ndarray, y: int, x: int, rows: list[int], columns: list[int]) -> tuple[np.ndarray, ...]:
        """Points (px of the picture), descriptors and scores of one tile, without those that belong to a neighbour."""
        size = np.array([self._width, self._height])
        cut = picture[y : y + self._height, x : x + self._width]
        padding = ((0, self._height - cut.shape[0]), (0, self._width - cut.shape[1]), (0, 0))
        image = np.pad(cut, padding, mode="edge").astype(np.float32).transpose(2, 0, 1)[None]
        uv, descriptor, score = self._session({"images": image})
        inner = size // INNER_MULTIPLE * INNER_MULTIPLE
        uv = uv + 0.5 * (size / inner - 1)  # the export scales corner to corner; pixel centres are meant
        at = uv + np.array([x, y])
        own = (nearest_tile(at[:, 0], columns, self._width) == x) & (nearest_tile(at[:, 1], rows, self._height) == y)
        own &= (at[:, 0] < picture.shape[1] - 0.5) & (at[:, 1] < picture.shape[0] - 0.5)
        return at[own], descriptor[own], score[own]


def tiles(length: int, tile: int, margin: int) -> list[int]:
    """Starts of the fewest tiles that cover `length` px and share at least `margin`, evenly spread."""
    if length <= tile:
        return [0]
    count = int(np.ceil((length - margin) / (tile - margin)))
    return np.linspace(0, length - tile, count).round().astype(int).tolist()


def nearest_tile(at: np.ndarray, starts: list[int], tile: int) -> np.ndarray:
    """Start of the tile whose middle is nearest to each place (N,) px."""
    middle = np.array(starts) + (tile - 1) / 2
    return np.array(starts)[np.abs(at[:, None] - middle).argmin(1)]
