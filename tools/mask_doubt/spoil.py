"""True masks made wrong in the ways that masks go wrong: grown over neighbours, parts lost, the hand taken along, a size too large."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

LEAST_PX = 400
"""smaller masks are left alone"""


def spoilt(true: np.ndarray, hand: np.ndarray | None, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`true` (H, W) bool made wrong in one way, drawn by chance; `hand` (H, W) bool or None; rgb (H, W, 3) uint8."""
    if hand is not None and hand.any() and rng.random() < 0.2:
        return _with_hand(true, hand, rng)
    ways: tuple[Callable[..., np.ndarray], ...] = (_grown, _bitten, _resized, _with_alike, _without_alike)
    return ways[rng.integers(len(ways))](true, rgb, rng)


def _grown(true: np.ndarray, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return true | _blob(true.shape, _on_outline(true, rng), _size(true) * rng.uniform(0.15, 0.6), rng)


def _bitten(true: np.ndarray, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return true & ~_blob(true.shape, _on_outline(true, rng), _size(true) * rng.uniform(0.2, 0.7), rng)


def _resized(true: np.ndarray, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kernel = np.ones((2 * int(_size(true) * rng.uniform(0.03, 0.2)) + 1,) * 2, np.uint8)
    return (cv2.dilate if rng.random() < 0.6 else cv2.erode)(true.astype(np.uint8), kernel) > 0


def _with_alike(true: np.ndarray, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With a patch of one colour that touches the object: a shadow, a piece of the table."""
    x, y = _on_outline(true, rng)
    near = _about(true, 0.8)
    _, labels = cv2.connectedComponents((_alike(rgb, (x, y), rng.uniform(8, 25)) & near).astype(np.uint8))
    return true | ((labels == labels[y, x]) & (labels[y, x] > 0))


def _without_alike(true: np.ndarray, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Without what has the colour of one of its places: a flap, a dark side."""
    y, x = np.argwhere(true)[rng.integers(true.sum())]
    lost = cv2.morphologyEx(
        _alike(rgb, (x, y), rng.uniform(6, 20)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    return true & ~(lost > 0)


def _with_hand(true: np.ndarray, hand: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return true | (hand & _about(true, rng.uniform(0.2, 0.9)))


def _size(mask: np.ndarray) -> float:
    return float(np.sqrt(mask.sum()))


def _about(mask: np.ndarray, share: float) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((int(_size(mask) * share) | 1,) * 2, np.uint8)) > 0


def _on_outline(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    line = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > mask
    y, x = np.argwhere(line if line.any() else mask)[rng.integers((line if line.any() else mask).sum())]
    return int(x), int(y)


def _alike(rgb: np.ndarray, at: tuple[int, int], reach: float) -> np.ndarray:
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    return np.linalg.norm(lab - lab[at[1], at[0]], axis=-1) < reach


def _blob(shape: tuple[int, int], centre: tuple[int, int], radius: float, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    rough = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), max(2.0, radius / 4))
    return np.hypot(x - centre[0], (y - centre[1]) * rng.uniform(0.6, 1.6)) < radius * (1 + 0.35 * rough / rough.std())
