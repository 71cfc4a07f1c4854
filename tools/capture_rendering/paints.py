"""Colours of objects and of what surrounds them, as functions of the 3-D point: linear RGB."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from stages.core.synthetic.paint import noise_tile, sample_list, sample_tile, table_albedo, wall_albedo

Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(N, 3) object points in metres, (N, 3) unit normals -> (N, 3) linear RGB"""

_PX_PER_M = 9000
_SHEET_M = 0.24


def printed(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """A label on every side: white with blobs of flat colour, a title, small print; the ends (above 6 cm) speckled."""
    axis = np.argmax(np.abs(normal), 1)
    out = np.zeros((len(x), 3))
    for k, (a, b) in enumerate(((2, 1), (0, 2), (0, 1))):
        for sign in (-1, 1):
            of = (axis == k) & (np.sign(normal[:, k]) == sign)
            out[of] = _on_sheet(2 * k + (sign > 0), sign * x[of, a], x[of, b])
    return np.where((np.abs(x[:, 1]) > 0.062)[:, None], mottled(x, normal), out)


def mottled(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Texture everywhere, of many sizes: what matching likes best."""
    coarse, fine = solid(x, 11, 9.0, 0.20), solid(x, 12, 2.0, 0.06)
    return (
        np.array([0.20, 0.07, 0.05])
        + np.array([0.35, 0.22, 0.08]) * coarse[:, None]
        + np.array([0.10, 0.12, 0.25]) * fine[:, None]
    )


def faint(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Nearly one colour: glazed clay whose clouds change by some percent."""
    return np.array([0.52, 0.46, 0.38]) * (0.88 + 0.24 * solid(x, 13, 14.0, 0.12))[:, None]


def checkered(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Cubes of 7 mm in two colours, all alike."""
    odd = np.floor((x + 0.1003) / 0.007).sum(1) % 2 > 0.5
    return np.where(odd[:, None], [0.55, 0.52, 0.45], [0.08, 0.12, 0.30])


def tool(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """A grip with print, and bare steel beyond it."""
    steel = np.array([0.33, 0.34, 0.36]) * (0.8 + 0.4 * solid(x, 14, 3.0, 0.05))[:, None]
    grip = np.array([0.50, 0.10, 0.04]) * (0.6 + 0.8 * solid(x, 15, 4.0, 0.08))[:, None]
    letters = _on_sheet(7, x[:, 0], x[:, 1])
    grip = np.where((letters.mean(1) < 0.15)[:, None], [0.70, 0.68, 0.60], grip)
    return np.where((x[:, :1] > -0.004), steel, grip)


PAINTS: dict[str, Paint] = {"print": printed, "mottle": mottled, "faint": faint, "checker": checkered, "tool": tool}

Surrounding = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(N,), (N,) metres on a plane -> (N, 3) linear RGB"""


def plain(u_m: np.ndarray, v_m: np.ndarray) -> np.ndarray:
    """A painted board: hardly anything to see."""
    return np.array([0.42, 0.43, 0.45]) * (0.985 + 0.03 * sample_tile(noise_tile(21, 20.0), u_m, v_m, 0.9))[:, None]


def tiles(u_m: np.ndarray, v_m: np.ndarray) -> np.ndarray:
    """Squares of 3 cm in two greys, all alike."""
    odd = (np.floor(u_m / 0.03) + np.floor(v_m / 0.03)) % 2 > 0.5
    return np.where(odd[:, None], [0.45, 0.44, 0.42], [0.16, 0.17, 0.19])


def cloth(u_m: np.ndarray, v_m: np.ndarray) -> np.ndarray:
    """Blue cloth with a fine weave and large stains."""
    weave = sample_tile(noise_tile(22, 1.0), u_m, v_m, 0.08)
    # two sizes that hardly ever meet again: a pattern that repeats would let the camera jump by its period
    stain = (
        sample_tile(noise_tile(23, 16.0), u_m, v_m, 0.5)
        + sample_tile(noise_tile(24, 16.0), u_m - v_m, v_m + 0.3 * u_m, 0.737)
        - 0.5
    )
    return np.array([0.10, 0.14, 0.26]) * (0.6 + 0.5 * weave + 0.5 * stain)[:, None]


SURROUNDINGS: dict[str, Surrounding] = {
    "wood": table_albedo,
    "stone": wall_albedo,
    "plain": plain,
    "tiles": tiles,
    "cloth": cloth,
}


def solid(x: np.ndarray, seed: int, smooth_px: float, size_m: float) -> np.ndarray:
    """(N, 3) points -> (N,) about 0..1: three sheets of noise along oblique directions, so that no side shows streaks."""
    parts = [
        sample_tile(noise_tile(seed, smooth_px), x[:, i] + 0.31 * x[:, k], x[:, j] - 0.23 * x[:, k], size_m)
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]
    return np.clip(0.5 + (np.mean(parts, 0) - 0.5) * 1.7, 0, 1)


def _on_sheet(seed: int, x_m: np.ndarray, y_m: np.ndarray) -> np.ndarray:
    u, v = ((a + _SHEET_M / 2).astype(np.float32) * _PX_PER_M for a in (x_m, y_m))
    return sample_list(_sheet(seed), u, v, cv2.BORDER_REFLECT)


@cache
def _sheet(seed: int) -> np.ndarray:
    """(S, S, 3) float32 linear RGB: the print of one side."""
    size, rng = int(_SHEET_M * _PX_PER_M), np.random.default_rng(100 + seed)
    sheet = np.full((size, size, 3), 222, np.uint8)
    for _ in range(45):
        centre, axes = rng.integers(0, size, 2), rng.integers(40, 190, 2)
        colour = tuple(map(int, rng.integers(15, 235, 3)))
        cv2.ellipse(
            sheet,
            tuple(map(int, centre)),
            tuple(map(int, axes)),
            int(rng.integers(180)),
            0,
            360,
            colour,
            -1,
            cv2.LINE_AA,
        )
    words = ("WHEAT", "net 400 g", "keep dry", "lot 7731 B", "STEREO", "shake well before use", "No. 5")
    for _ in range(30):
        at, scale = tuple(map(int, rng.integers(0, size - 200, 2))), float(rng.uniform(1.0, 4.5))
        ink = tuple(map(int, rng.integers(0, 90, 3)))
        word, thick = words[rng.integers(len(words))], max(1, round(2.5 * scale))
        cv2.putText(sheet, word, at, cv2.FONT_HERSHEY_DUPLEX, scale, ink, thick, cv2.LINE_AA)
    return (cv2.GaussianBlur(sheet, (0, 0), 1.5).astype(np.float32) / 255) ** 2.2
