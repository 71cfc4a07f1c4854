"""A bank of procedural textures: what matchers meet on real objects, from nothing at all to fine print."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = 256
WORDS = (
    "STEREO",
    "500 g",
    "keep dry",
    "TWIN",
    "No. 42",
    "organic",
    "metric",
    "open here",
    "12:30",
    "made of light",
    "A7",
    "fragile",
)
KINDS = (
    "flat",
    "flat",
    "gradient",
    "noise",
    "noise",
    "fine noise",
    "print",
    "label",
    "shapes",
    "shapes",
    "repetition",
    "wood",
)
BLANK = (0, 1, 2)
"""Kinds with nothing to match inside."""
RICH = (3, 4, 5, 7, 9, 11)


def texture_bank(count: int, seed: int) -> np.ndarray:
    """(count, 3, SIZE, SIZE) float32 in 0..1; tile i is of kind KINDS[i % len(KINDS)]."""
    rng = np.random.default_rng(seed)
    makers = {
        "flat": _flat,
        "gradient": _gradient,
        "noise": _noise,
        "fine noise": _fine_noise,
        "print": _print,
        "label": _label,
        "shapes": _shapes,
        "repetition": _repetition,
        "wood": _wood,
    }
    tiles = [makers[KINDS[i % len(KINDS)]](rng) for i in range(count)]
    return np.stack(tiles).astype(np.float32).transpose(0, 3, 1, 2)


def _colour(rng: np.random.Generator) -> np.ndarray:
    grey = rng.uniform(0.03, 0.95)
    return np.clip(grey + rng.normal(0, rng.choice([0.02, 0.2]), 3), 0.02, 0.98)


def _ink(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(v) for v in colour * 255)


def _flat(rng: np.random.Generator) -> np.ndarray:
    return np.broadcast_to(_colour(rng), (SIZE, SIZE, 3)).copy()


def _gradient(rng: np.random.Generator) -> np.ndarray:
    ramp = np.abs(np.linspace(-1, 1, SIZE))[:, None, None] * np.ones((1, SIZE, 1))
    return _mixed(rng, ramp)


def _mixed(rng: np.random.Generator, level: np.ndarray) -> np.ndarray:
    return _colour(rng) * (1 - level) + _colour(rng) * level


def _smooth_noise(rng: np.random.Generator, sigma_x: float, sigma_y: float) -> np.ndarray:
    padded = cv2.copyMakeBorder(rng.standard_normal((SIZE, SIZE)).astype(np.float32), 64, 64, 64, 64, cv2.BORDER_WRAP)
    smooth = cv2.GaussianBlur(padded, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)[64:-64, 64:-64]
    return smooth / smooth.std()


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Octaves of smooth noise between two colours; stretched ones look like brushed metal."""
    stretch = rng.choice([1.0, 1.0, 5.0])
    sigmas = [rng.uniform(0.7, 1.6) * 2**octave for octave in range(rng.integers(1, 6))]
    total = sum(_smooth_noise(rng, min(s * stretch, 20), s) * rng.uniform(0.3, 1) for s in sigmas)
    return _mixed(rng, np.clip(0.5 + rng.uniform(0.03, 0.3) * total / total.std(), 0, 1)[..., None])


def _fine_noise(rng: np.random.Generator) -> np.ndarray:
    """Cloth, stone, paper: fine grain in each channel over a large-scale stain."""
    grain = np.stack([_smooth_noise(rng, 0.8, 0.8) for _ in range(3)], -1)
    common = _smooth_noise(rng, 0.9, 0.9)[..., None] + 0.4 * grain
    stain = _smooth_noise(rng, 12, 12)[..., None]
    return np.clip(_flat(rng) * (1 + rng.uniform(0.02, 0.35) * common + rng.uniform(0, 0.2) * stain), 0.01, 1)


def _wood(rng: np.random.Generator) -> np.ndarray:
    """Rings of a plank, bent by noise."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    bent = y + 12 * _smooth_noise(rng, 20, 14) + 0.1 * x
    rings = 0.5 + 0.5 * np.sin(bent * rng.uniform(0.08, 0.5)) + 0.25 * _smooth_noise(rng, 14, 0.8)
    return _mixed(rng, np.clip(rings * rng.uniform(0.2, 0.8), 0, 1)[..., None])


def _print(rng: np.random.Generator) -> np.ndarray:
    sheet = (_flat(rng) * 255).astype(np.uint8)
    for _ in range(rng.integers(2, 14)):
        where, font = tuple(int(v) for v in rng.integers(-20, SIZE, 2)), int(rng.integers(0, 7))
        scale = float(rng.uniform(0.3, 2.2))
        cv2.putText(
            sheet, str(rng.choice(WORDS)), where, font, scale, _ink(_colour(rng)), max(1, int(scale * 2)), cv2.LINE_AA
        )
    return sheet / 255


def _label(rng: np.random.Generator) -> np.ndarray:
    """A printed label: a frame, a logo, a headline, lines of small print, and blank ground between them."""
    sheet, ink = (_flat(rng) * 255).astype(np.uint8), _ink(_colour(rng))
    x0, y0, x1, y1 = (int(v) for v in (*rng.integers(5, 60, 2), *rng.integers(170, 250, 2)))
    cv2.rectangle(sheet, (x0, y0), (x1, y1), _ink(_colour(rng)), -1 if rng.random() < 0.6 else 3, cv2.LINE_AA)
    cv2.circle(
        sheet,
        (int(rng.integers(x0, x1)), int(rng.integers(y0, y1))),
        int(rng.integers(8, 45)),
        _ink(_colour(rng)),
        -1,
        cv2.LINE_AA,
    )
    cv2.putText(sheet, str(rng.choice(WORDS)), (x0 + 6, y0 + 40), 2, float(rng.uniform(0.8, 1.6)), ink, 2, cv2.LINE_AA)
    for line in range(rng.integers(0, 7)):
        text = " ".join(rng.choice(WORDS, 3))
        cv2.putText(sheet, text, (x0 + 6, y0 + 70 + 14 * line), 0, float(rng.uniform(0.3, 0.45)), ink, 1, cv2.LINE_AA)
    for bar in range(rng.integers(0, 2) * 20):
        x = x0 + 8 + 4 * bar
        cv2.line(sheet, (x, y1 - 30), (x, y1 - 8), ink, int(rng.integers(1, 3)))
    return sheet / 255


def _shapes(rng: np.random.Generator) -> np.ndarray:
    """Flat patches of colour on a flat ground: edges with nothing in between."""
    sheet = (_flat(rng) * 255).astype(np.uint8)
    for _ in range(rng.integers(1, 12)):
        centre, axes = (tuple(int(v) for v in rng.integers(lo, hi, 2)) for lo, hi in ((0, SIZE), (5, 90)))
        if rng.random() < 0.5:
            cv2.ellipse(sheet, centre, axes, float(rng.uniform(0, 180)), 0, 360, _ink(_colour(rng)), -1, cv2.LINE_AA)
        else:
            corners = (np.array(centre) + rng.normal(0, axes, (int(rng.integers(3, 6)), 2))).astype(np.int32)
            cv2.fillPoly(sheet, [corners], _ink(_colour(rng)), cv2.LINE_AA)
    return sheet / 255


def _repetition(rng: np.random.Generator) -> np.ndarray:
    """Stripes or checks, softened: many equally good matches."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    period = 2 * np.pi * rng.integers(4, 40) / SIZE
    wave = np.sin(period * x) * (np.sin(period * y) if rng.random() < 0.5 else 1)
    return _mixed(rng, (0.5 + 0.5 * np.tanh(rng.uniform(0.7, 6) * wave))[..., None])
