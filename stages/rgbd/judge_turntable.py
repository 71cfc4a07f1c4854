"""Whether a camera that stands still saw a thing turn in few, wide steps: marks under it then tell its poses, and hardly anything else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np

FEW = 24
"""pictures: more of them, right round, are steps that the surface itself can tell"""
WIDTH = 160
RIM = 1 / 8
"""of the width and height, on each side: what stands still there; the object is in the middle third"""
SAME = 6
"""grey levels between two pictures of one place; noise and exposure stay below, once pictures are small and smooth"""
STILL, TURNED = 0.75, 0.65
"""share of the rim that is the same at least, and of the middle at most"""


def words(pictures: Sequence[np.ndarray]) -> str:
    """For the colour pictures (H, W, 3) of all frames: what to say before work, "" where it is no such capture."""
    if not 2 < len(pictures) <= FEW:
        return ""
    rim, middle = np.median([_same(a, b) for a, b in itertools.pairwise(map(_small, pictures))], axis=0)
    if rim < STILL or middle > TURNED:
        return ""
    return (
        f"the camera stands still, and what is before it changes much between these {len(pictures)} pictures: so few steps are wide, "
        "and the surface alone may not tell them. If the object turned together with marks under it (a sheet with dots), run with "
        "--route turntable; else take more pictures (docs/rgbd.md)"
    )


def _small(picture: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    size = (WIDTH, max(8, round(WIDTH * grey.shape[0] / grey.shape[1])))
    return cv2.GaussianBlur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (0, 0), 1).astype(np.float32)


def _same(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Share of the rim and of the middle where the pictures are alike."""
    if a.shape != b.shape:
        return 0.0, 0.0
    h, w = a.shape
    alike, rim = np.abs(a - b) < SAME, np.ones((h, w), bool)
    rim[round(RIM * h) : h - round(RIM * h), round(RIM * w) : w - round(RIM * w)] = False
    return float(alike[rim].mean()), float(alike[h // 3 : 2 * h // 3, w // 3 : 2 * w // 3].mean())
