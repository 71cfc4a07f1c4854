"""Paints of objects and surfaces of rooms, each with chance figures of its own: functions of the 3-D point, linear RGB."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from stages.core.synthetic.paint import noise_tile, sample_list, sample_tile
from tools.capture_rendering.paints import Paint, printed, solid

_TILE_SEEDS = 40
"""so many tiles of noise of each smoothness: they are cached"""


def coat(name: str, rng: np.random.Generator, extent_m: float, around: np.ndarray) -> Paint:
    """One of COATS on an object of `extent_m`; `around` (3,): colour of its background, which "camouflage" takes."""
    if name == "camouflage":
        return _faint(around, 0.12, rng, extent_m)
    return COATS[name](rng, extent_m)


def _flat(rng: np.random.Generator, extent_m: float) -> Paint:
    return _faint(_colour(rng), 0.02, rng, extent_m)


def _white(rng: np.random.Generator, extent_m: float) -> Paint:
    return _faint(np.array([0.72, 0.70, 0.66]), 0.04, rng, extent_m)


def _dark(rng: np.random.Generator, extent_m: float) -> Paint:
    return _faint(_colour(rng) * 0.05 + 0.015, 0.2, rng, extent_m)


def _clouds(rng: np.random.Generator, extent_m: float) -> Paint:
    return _faint(_colour(rng), 0.3, rng, extent_m)


def _mottle(rng: np.random.Generator, extent_m: float) -> Paint:
    coarse, fine = _noise(rng, 9.0, 0.9 * extent_m), _noise(rng, 2.0, 0.4 * extent_m)
    a, b, c = _colour(rng), _colour(rng), _colour(rng)
    return lambda x, normal: _mixed(a, b, coarse(x)) * 0.7 + 0.3 * c * fine(x)[:, None]


def _speckle(rng: np.random.Generator, extent_m: float) -> Paint:
    """Spots on one colour."""
    spots, a, b = _noise(rng, 3.0, 0.8 * extent_m), _colour(rng), _colour(rng)
    return lambda x, normal: np.where((spots(x) > 0.68)[:, None], b, a)


def _stripes(rng: np.random.Generator, extent_m: float) -> Paint:
    """Bands of uneven width in three colours, and a little grain."""
    along, grain = rng.normal(size=3), _noise(rng, 2.0, 0.3 * extent_m)
    along /= np.linalg.norm(along)
    colours, edges = np.array([_colour(rng) for _ in range(3)]), np.sort(rng.uniform(-0.6, 0.6, 14)) * extent_m
    return lambda x, normal: colours[np.searchsorted(edges, x @ along) % 3] * (0.8 + 0.4 * grain(x))[:, None]


def _checker(rng: np.random.Generator, extent_m: float) -> Paint:
    """All cubes alike: a pattern that repeats."""
    size, a, b = extent_m / rng.uniform(8, 16), _colour(rng), _colour(rng)
    return lambda x, normal: np.where((np.floor(x / size + 0.013).sum(1) % 2 > 0.5)[:, None], a, b)


def _patches(rng: np.random.Generator, extent_m: float) -> Paint:
    """Large areas of flat colours with clear borders."""
    centres = rng.uniform(-0.5, 0.5, (24, 3)) * extent_m
    colours = np.array([_colour(rng) for _ in range(24)])

    def paint(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
        from scipy.spatial import cKDTree

        return colours[cKDTree(centres).query(x)[1]]

    return paint


def _print(rng: np.random.Generator, extent_m: float) -> Paint:
    """The printed sheets of the rendered cases, at the scale of the object and in other inks."""
    scale, ink = 0.13 / extent_m, 0.55 + 0.45 * rng.random(3)
    shift = rng.uniform(-0.03, 0.03, 3)
    return lambda x, normal: printed(np.clip(x * scale + shift, -0.115, 0.115), normal) * ink


COATS: dict[str, Callable[[np.random.Generator, float], Paint]] = {
    "flat": _flat,
    "white": _white,
    "dark": _dark,
    "clouds": _clouds,
    "mottle": _mottle,
    "speckle": _speckle,
    "stripes": _stripes,
    "checker": _checker,
    "patches": _patches,
    "print": _print,
    "camouflage": _flat,
}

Ground = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(N,), (N,) metres on a plane -> (N, 3) linear RGB"""


def ground(name: str, rng: np.random.Generator) -> Ground:
    """One of GROUNDS."""
    return GROUNDS[name](rng)


def _plain(rng: np.random.Generator) -> Ground:
    return _grained(np.full(3, rng.uniform(0.2, 0.6)) * rng.uniform(0.92, 1.08, 3), 0.03, rng)


def _bright(rng: np.random.Generator) -> Ground:
    return _grained(np.full(3, 0.82), 0.03, rng)


def _black(rng: np.random.Generator) -> Ground:
    return _grained(np.full(3, rng.uniform(0.012, 0.04)), 0.3, rng)


def _coloured(rng: np.random.Generator) -> Ground:
    return _grained(_colour(rng), 0.06, rng)


def _wood(rng: np.random.Generator) -> Ground:
    grain, fine = _flat_noise(rng, (14.0, 1.2), 0.25), _flat_noise(rng, (6.0, 1.2), 0.12)
    colour = np.array([0.42, 0.25, 0.12]) * rng.uniform(0.5, 1.3)
    return lambda u, v: (
        colour * (0.55 + 0.6 * grain(u, v) + 0.35 * fine(u, v) + (np.floor(v / 0.09) % 3) * 0.06)[:, None]
    )


def _stone(rng: np.random.Generator) -> Ground:
    cloud, vein, fine = (_flat_noise(rng, s, m) for s, m in ((9.0, 0.5), (12.0, 0.4), (1.2, 0.15)))
    colour = rng.uniform(0.08, 0.3) * rng.uniform(0.85, 1.15, 3)
    return lambda u, v: (
        colour * (0.5 + cloud(u, v) + 1.8 * np.exp(-40 * np.abs(vein(u, v) - 0.5)) + 0.6 * fine(u, v))[:, None]
    )


def _cloth(rng: np.random.Generator) -> Ground:
    weave, stain = _flat_noise(rng, 1.0, 0.08), _flat_noise(rng, 16.0, 0.63)
    colour = _colour(rng) * 0.6
    return lambda u, v: colour * (0.5 + 0.5 * weave(u, v) + 0.6 * stain(u, v))[:, None]


def _tiles(rng: np.random.Generator) -> Ground:
    """Squares that are all alike, with joints or in two colours."""
    size, a, b = rng.uniform(0.02, 0.08), _colour(rng), _colour(rng)
    return lambda u, v: np.where(((np.floor(u / size) + np.floor(v / size)) % 2 > 0.5)[:, None], a, b)


def _bands(rng: np.random.Generator) -> Ground:
    """Stripes at equal distances: a pattern that repeats in one direction."""
    size, a, b = rng.uniform(0.015, 0.06), _colour(rng), _colour(rng)
    return lambda u, v: np.where((np.mod(u + 0.3 * v, size) < 0.4 * size)[:, None], a, b)


def _paper(rng: np.random.Generator) -> Ground:
    """Printed pages laid beside each other."""
    sheet = _page(int(rng.integers(1000)))
    n = sheet.shape[0]

    def colours(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        a, b = (np.mod(w / 0.9, 1.0) * (n - 1) for w in (u, v))
        return sample_list(sheet, a.astype(np.float32), b.astype(np.float32), cv2.BORDER_WRAP).astype(float)

    return colours


GROUNDS: dict[str, Callable[[np.random.Generator], Ground]] = {
    "plain": _plain,
    "bright": _bright,
    "black": _black,
    "coloured": _coloured,
    "wood": _wood,
    "stone": _stone,
    "cloth": _cloth,
    "tiles": _tiles,
    "bands": _bands,
    "paper": _paper,
}


def _colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) linear RGB: any hue, from pale to full."""
    level, tint = rng.uniform(0.12, 0.6), rng.random(3)
    return np.clip(level * (1 + rng.uniform(0.1, 1.0) * (tint - tint.mean()) * 2.2), 0.01, 0.9)


def _mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * share[:, None]


def _faint(colour: np.ndarray, depth: float, rng: np.random.Generator, extent_m: float) -> Paint:
    noise = _noise(rng, 12.0, 0.9 * extent_m)
    return lambda x, normal: colour * (1 + depth * (noise(x) - 0.5))[:, None]


def _grained(colour: np.ndarray, depth: float, rng: np.random.Generator) -> Ground:
    noise = _flat_noise(rng, 18.0, 0.83)
    return lambda u, v: colour * (1 + depth * (noise(u, v) - 0.5))[:, None]


def _noise(rng: np.random.Generator, smooth_px: float, size_m: float) -> Callable[[np.ndarray], np.ndarray]:
    seed, shift = int(rng.integers(_TILE_SEEDS)), rng.uniform(0, size_m, 3)
    return lambda x: solid(x + shift, 200 + seed, smooth_px, size_m)


def _flat_noise(rng: np.random.Generator, smooth_px: float | tuple[float, float], size_m: float) -> Ground:
    tile, (a, b) = noise_tile(300 + int(rng.integers(_TILE_SEEDS)), smooth_px), rng.uniform(0, size_m, 2)
    return lambda u, v: sample_tile(tile, u + a, v + b, size_m)


def _page(seed: int) -> np.ndarray:
    """(1024, 1024, 3) float32 linear RGB: lines of text and pictures."""
    rng = np.random.default_rng([31, seed])
    sheet = np.full((1024, 1024, 3), 225, np.uint8)
    for _ in range(26):
        (x, y), (w, h) = rng.integers(0, 960, 2), rng.integers(30, 200, 2)
        cv2.rectangle(sheet, (int(x), int(y)), (int(x + w), int(y + h)), tuple(map(int, rng.integers(20, 230, 3))), -1)
    for _ in range(160):
        at, ink = tuple(map(int, rng.integers(0, 1000, 2))), tuple(map(int, rng.integers(0, 110, 3)))
        word = "".join(chr(97 + int(c)) for c in rng.integers(0, 26, int(rng.integers(4, 14))))
        cv2.putText(sheet, word, at, cv2.FONT_HERSHEY_DUPLEX, float(rng.uniform(0.4, 1.6)), ink, 1, cv2.LINE_AA)
    return (cv2.GaussianBlur(sheet, (0, 0), 0.8).astype(np.float32) / 255) ** 2.2
