"""Writes the rectified pairs: untouched files are copied byte for byte, the rest is resampled once, straight from the raw picture."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.resampling import not_seen, resampled
from stages.rectify.geometry import Geometry, View
from stages.rectify.raw_pairs import Picture, RawPair

JPEG_QUALITY = 97
LANCZOS = cv2.INTER_LANCZOS4


@dataclass(frozen=True)
class Warp:
    """How raw pixels of one camera become rectified ones; maps are None where the picture is already right."""

    size: tuple[int, int]
    """(width, height) written"""
    fixed_maps: tuple[np.ndarray, np.ndarray] | None = None
    """cv2 fixed-point maps (1/32 px)"""
    outside: np.ndarray | None = None
    """(H, W) bool, pixels that the raw picture does not cover"""

    @staticmethod
    def of(view: View, rig: Rig, raw_size: tuple[int, int], size: tuple[int, int], keep: bool) -> Warp:
        """`rig` is the rectified rig at full size; `size` what is written."""
        if keep:
            return Warp(size)
        x, y = view.maps(rig)
        return Warp(size, cv2.convertMaps(x, y, cv2.CV_16SC2), not_seen(x, y, raw_size))

    @property
    def copies(self) -> bool:
        """Whether pixels stay as they are, apart from a change of size."""
        return self.fixed_maps is None

    def __call__(self, raw: np.ndarray, interpolation: int = LANCZOS) -> np.ndarray:
        """(h, w[, 3]) raw -> rectified at `size`; black where the raw picture has nothing."""
        image = raw
        if self.fixed_maps is not None:
            image = resampled(raw, self.fixed_maps, self.outside, interpolation)
        if image.shape[1::-1] != self.size:
            exact = interpolation == cv2.INTER_NEAREST
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_NEAREST_EXACT if exact else cv2.INTER_AREA)
        return image


@dataclass(frozen=True)
class PairWriter:
    """Writes pairs/left/NNNNNN.* and pairs/right/NNNNNN.*."""

    left: Warp
    right: Warp
    raw_size: tuple[int, int]
    folder: Path
    suffix: str
    """of resampled pictures"""

    @staticmethod
    def of(geometry: Geometry, size: tuple[int, int], folder: Path, suffix: str) -> PairWriter:
        """`size`: (width, height) to write; that of geometry.rig, or smaller."""
        left = Warp.of(geometry.left, geometry.rig, geometry.size, size, keep=geometry.keep_left)
        right = Warp.of(geometry.right, geometry.rig, geometry.size, size, keep=geometry.keep_right)
        for side in ("left", "right"):
            (folder / side).mkdir(parents=True, exist_ok=True)
        return PairWriter(left, right, geometry.size, folder, suffix=suffix)

    def __call__(self, pair: RawPair) -> tuple[int, str, str]:
        """(frame, left name, right name) below the folder."""
        return (
            pair.frame,
            self._write(pair.frame, "left", pair.left, self.left),
            self._write(pair.frame, "right", pair.right, self.right),
        )

    def _write(self, frame: int, side: str, picture: Picture | None, warp: Warp) -> str:
        if picture is None:
            raise ValueError(f"frame {frame} has no {side} picture; only whole pairs are written")
        if warp.copies and picture.file is not None and warp.size == self.raw_size:
            name = f"{side}/{frame:06d}{picture.file.suffix.lower()}"
            shutil.copyfile(picture.file, self.folder / name)
            return name
        name = f"{side}/{frame:06d}{self.suffix}"
        flags = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if self.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
        _, data = cv2.imencode(self.suffix, warp(picture.pixels()), flags)
        (self.folder / name).write_bytes(data.tobytes())
        return name
