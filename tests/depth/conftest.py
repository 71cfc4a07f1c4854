"""A small pair with everything known: a slanted wall, a bulging object before it, texture and blank areas, gain between the eyes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest


@dataclass(frozen=True)
class Pair:
    """(H, W, 3) uint8 pictures; (H, W) true disparity, pixels both eyes see, pixels on texture."""

    left: np.ndarray
    right: np.ndarray
    truth: np.ndarray
    visible: np.ndarray
    textured: np.ndarray


def make_pair(height: int = 300, width: int = 400, noise: float = 1.0, seed: int = 0, object_px: float = 52.0) -> Pair:
    """Rendered in the left view; the right eye's pixels are looked up by inverting x - d(x) per surface, so truth is exact."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)

    def wall(a, b):
        return 20 + 0.02 * a + 0.01 * b

    def blob(a, b):
        return object_px - 0.0012 * ((a - 0.6 * width) ** 2 + (b - 0.5 * height) ** 2)

    def inside(a, b):
        return ((a - 0.6 * width) / 62) ** 2 + ((b - 0.5 * height) / 95) ** 2 < 1

    paper = [_paper(rng, height + 8, width + 160) for _ in range(2)]

    def blank(a, b):
        return (np.abs(a - 0.6 * width) < 22) & (np.abs(b - 0.62 * height) < 22)

    def render(left_x: list[np.ndarray]) -> np.ndarray:
        out = _look_up(paper[0], left_x[0], y)
        front = _look_up(paper[1], left_x[1], y)
        front[blank(left_x[1], y)] = (150, 140, 160)
        return np.where(inside(left_x[1], y)[..., None], front, out)

    left = render([x, x])
    right = render([_solve(wall, x, y), _solve(blob, x, y)])
    truth = np.where(inside(x, y), blob(x, y), wall(x, y))
    hidden = ~inside(x, y) & inside(_solve(blob, x - truth, y), y)

    def camera(image, gain):
        return np.clip(np.rint(image * gain + rng.normal(0, noise, image.shape)), 0, 255).astype(np.uint8)

    seen = (x - truth >= 0) & ~hidden & ~_rim(inside(x, y))
    return Pair(camera(left, 1.0), camera(right, np.array([1.08, 1.05, 1.02])), truth, seen, ~blank(x, y))


def _paper(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    fine = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 1.5)
    return (120 + 45 * fine / fine.std()).clip(10, 240).astype(np.float32)


def _look_up(paper: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(paper, x.astype(np.float32), y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)


def _solve(surface, right_x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = right_x + 30
    for _ in range(30):
        x = right_x + surface(x, y)
    return x


def _rim(inside: np.ndarray) -> np.ndarray:
    size = np.ones((9, 9), np.uint8)
    return cv2.dilate(inside.astype(np.uint8), size) != cv2.erode(inside.astype(np.uint8), size)


@pytest.fixture(scope="session")
def pair() -> Pair:
    """300x400, noise of one grey level. Read only."""
    return make_pair()
