"""A bank of procedural textures: what matchers meet on real objects, from nothing at all to fine print."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = 256
WORDS = ("STEREO", "500 g", "keep dry", "TWIN", "No. 42", "organic", "metric", "open here", "12:30", "made of light", "A7", "fragile")


def texture_bank(count: int, seed: int) -> np.ndarray:
    """(count, 3, SIZE, SIZE) float32 in 0..1, tileable where it is noise."""
    rng = np.random.default_rng(seed)
    makers = (_flat, _flat, _gradient, _noise, _noise, _noise, _print, _print, _shapes, _repetition)
    tiles = [makers[i % len(makers)](rng) for i in range(count)]
    return np.stack(tiles).astype(np.float32).transpose(0, 3, 1, 2)


def _colour(rng: np.random.Generator) -> np.ndarray:
    grey = rng.uniform(0.03, 0.95)
    return np.clip(grey + rng.normal(0, rng.choice([0.02, 0.2]), 3), 0.02, 0.98)


def _flat(rng: np.random.Generator) -> np.ndarray:
    return np.broadcast_to(_colour(rng), (SIZE, SIZE, 3)).copy()


def _gradient(rng: np.random.Generator) -> np.ndarray:
    ramp = np.abs(np.linspace(-1, 1, SIZE))[:, None, None] * np.ones((1, SIZE, 1))
    return _colour(rng) * (1 - ramp) + _colour(rng) * ramp


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Octaves of smooth noise between two colours; stretched ones look like wood or brushed metal."""
    total = np.zeros((SIZE, SIZE), np.float32)
    stretch = rng.choice([1.0, 1.0, 5.0])
    for octave in range(rng.integers(1, 5)):
        sigma = rng.uniform(0.7, 1.6) * 2**octave
        padded = cv2.copyMakeBorder(rng.standard_normal((SIZE, SIZE)).astype(np.float32), 64, 64, 64, 64, cv2.BORDER_WRAP)
        smooth = cv2.GaussianBlur(padded, (0, 0), sigmaX=min(sigma * stretch, 20), sigmaY=sigma)[64:-64, 64:-64]
        total += smooth / smooth.std() * rng.uniform(0.3, 1)
    level = np.clip(0.5 + rng.uniform(0.03, 0.3) * total / total.std(), 0, 1)[..., None]
    return _colour(rng) * (1 - level) + _colour(rng) * level


def _print(rng: np.random.Generator) -> np.ndarray:
    sheet = (_flat(rng) * 255).astype(np.uint8)
    for _ in range(rng.integers(2, 14)):
        where = tuple(int(v) for v in rng.integers(-20, SIZE, 2))
        ink = tuple(int(v) for v in _colour(rng) * 255)
        scale = float(rng.uniform(0.3, 2.2))
        cv2.putText(sheet, str(rng.choice(WORDS)), where, int(rng.integers(0, 7)), scale, ink, max(1, int(scale * 2)), cv2.LINE_AA)
    return sheet / 255


def _shapes(rng: np.random.Generator) -> np.ndarray:
    """Flat blobs of colour on a flat ground: edges with nothing in between."""
    sheet = (_flat(rng) * 255).astype(np.uint8)
    for _ in range(rng.integers(1, 7)):
        centre, axes = (tuple(int(v) for v in rng.integers(lo, hi, 2)) for lo, hi in ((0, SIZE), (10, 90)))
        cv2.ellipse(sheet, centre, axes, float(rng.uniform(0, 180)), 0, 360, tuple(int(v) for v in _colour(rng) * 255), -1, cv2.LINE_AA)
    return sheet / 255


def _repetition(rng: np.random.Generator) -> np.ndarray:
    """Stripes or checks, softened: many equally good matches."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    period = 2 * np.pi * rng.integers(4, 40) / SIZE
    wave = np.sin(period * x) * (np.sin(period * y) if rng.random() < 0.5 else 1)
    level = (0.5 + 0.5 * np.tanh(rng.uniform(0.7, 6) * wave))[..., None]
    return _colour(rng) * (1 - level) + _colour(rng) * level
