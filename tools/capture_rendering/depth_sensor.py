"""What a depth camera would measure of a scene whose depth is known: millimetres, with noise that neighbours share, none beside edges."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from stages.core.camera import Rig

SHARED_PX = 1.0
"""blur of the noise: a sensor matches windows, so that neighbours err together"""
STEP = 0.03
"""share of the depth by which it jumps at an edge, where sensors measure nothing"""


def depth_camera(folder: Path, rig: Rig) -> None:
    """camera.json in the place of calibration.json, and gt/rig.json, which the truth is told in."""
    (folder / "calibration.json").rename(folder / "gt/rig.json")
    lens = {"K": rig.K.ravel().tolist(), "image_size": {"width": rig.width, "height": rig.height}}
    (folder / "camera.json").write_text(json.dumps({"color": lens, "registered": True, "depth_scale": 10000}))


def write_depth(path: Path, z: np.ndarray, floor_mm: float, at_1m_mm: float, rng: np.random.Generator) -> None:
    """(H, W) metres, NaN = none, as 16-bit PNG of 10000 units a metre."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, z.shape), (0, 0), SHARED_PX)
    noisy = z + noise / noise.std() * 1e-3 * np.hypot(floor_mm, at_1m_mm * z**2)
    filled = np.where(np.isfinite(z), z, 1e3).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(filled, kernel) - cv2.erode(filled, kernel) > STEP * filled
    value = np.where(np.isfinite(noisy) & ~edge, np.rint(1e4 * noisy), 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(value, 0, 65535).astype(np.uint16))
