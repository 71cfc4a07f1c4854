"""A frame at the working size: at most about one megapixel, so that memory and time do not grow with the camera's resolution."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.frames import FrameReader
from stages.core.images import DISPARITY_SCALE, SIGMA_SCALE


@dataclass(frozen=True)
class WorkingFrame:
    """rgb (H, W, 3) uint8; disparity and sigma (H, W) float32 in working pixels, NaN = none."""

    frame: int
    rgb: np.ndarray
    disparity: np.ndarray
    sigma: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.rgb.shape[:2]

    def points(self, u: np.ndarray, v: np.ndarray, rig: Rig) -> np.ndarray:
        """(N, 3) metres in the left camera of the pixels in columns `u` and rows `v`; NaN where there is no disparity."""
        return rig.backproject(np.stack([u, v], 1), rig.depth_from_disparity(self.disparity[v, u]))


def working_scale(width: int, height: int, max_pixels: int) -> float:
    """Factor (at most 1) from the full size to the working size."""
    return min(1.0, float(np.sqrt(max_pixels / (width * height))))


def load(reader: FrameReader, frame: int, scale: float) -> WorkingFrame:
    """Read and shrink one frame. Disparity shrinks by taking nearest samples (a mean would invent depths at the object's border)."""
    rgb, disparity, sigma = reader.rgb(frame), reader.disparity_px(frame), reader.sigma_px(frame)
    return shrink(WorkingFrame(frame, rgb, disparity, sigma), scale)


def shrink(full: WorkingFrame, scale: float) -> WorkingFrame:
    """The same frame `scale` times as large."""
    if scale >= 1:
        return full
    h, w = full.shape
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    sx = np.float32(size[0] / w)

    def near(a):
        return cv2.resize(a, size, interpolation=cv2.INTER_NEAREST_EXACT) * sx

    return WorkingFrame(
        full.frame, cv2.resize(full.rgb, size, interpolation=cv2.INTER_AREA), near(full.disparity), near(full.sigma)
    )


class FrameCache:
    """Loads frames and keeps the first ones that fit into `budget_bytes`, losslessly packed, so that short videos are decoded once."""

    def __init__(self, load: Callable[[int], WorkingFrame], budget_bytes: int = 300_000_000) -> None:
        self._load, self._left = load, budget_bytes
        self._packed: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    def __call__(self, frame: int) -> WorkingFrame:
        if (packed := self._packed.get(frame)) is not None:
            return WorkingFrame(frame, packed[0], unpack(packed[1], DISPARITY_SCALE), unpack(packed[2], SIGMA_SCALE))
        view = self._load(frame)
        size = view.rgb.nbytes + view.disparity.nbytes // 2 + view.sigma.nbytes // 2
        with self._lock:
            if frame not in self._packed and size <= self._left:
                self._left -= size
                self._packed[frame] = (view.rgb, pack(view.disparity, DISPARITY_SCALE), pack(view.sigma, SIGMA_SCALE))
        return view


def pack(values: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) float32 with NaN -> uint16 in 1/scale, 0 = none (the encoding of the files themselves)."""
    return np.where(np.isfinite(values), np.clip(np.rint(values * np.float32(scale)), 1, 65535), 0).astype(np.uint16)


def unpack(values: np.ndarray, scale: float) -> np.ndarray:
    """The inverse of `pack`."""
    return np.where(values > 0, values * np.float32(1 / scale), np.float32(np.nan))


def noise_level(rgb: np.ndarray) -> float:
    """Standard deviation of the sensor noise in grey levels, from the Laplacian (Immerkaer 1996), median form; at least 1."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return max(1.0, float(np.median(np.abs(cv2.filter2D(gray, -1, kernel)))) / 0.6745 / 6)
