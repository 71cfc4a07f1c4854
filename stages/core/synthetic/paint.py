"""Colours of the built-in scene as functions of the 3-D point: print, flat paint, a speckled cap; a wooden table, a stone wall."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

LABEL_PX_PER_M = 12000
_LABEL_HALF_M = (0.040, 0.066)


def object_albedo(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(N, 3) object points and unit normals -> (N, 3) linear RGB. Front and back carry print, sides and shoulder stay flat."""
    front, back = _label("STEREO", "TWIN 500 g", 1), _label("METRIC", "made of light", 2)
    print_front, print_back = _sample_label(front, x[:, 0], x[:, 1]), _sample_label(back, -x[:, 0], x[:, 1])
    out = np.where((normal[:, 2:] < 0), print_front, print_back)
    side = (np.abs(normal[:, 0]) > 0.75)[:, None]
    out = np.where(side, np.array([0.72, 0.70, 0.62]), out)
    cap = (x[:, 1] < -0.043)[:, None]
    speckle = sample_tile(noise_tile(3, 1.5), np.arctan2(x[:, 2], x[:, 0]) * 0.013, x[:, 1], 0.03)
    out = np.where(cap, np.array([0.35, 0.05, 0.08]) + 0.25 * speckle[:, None] * np.array([1.0, 0.6, 0.2]), out)
    handle = (np.hypot(x[:, 0] - 0.036, x[:, 1] - 0.004) > 0.010)[:, None] & (x[:, :1] > 0.037)
    grain = sample_tile(noise_tile(4, 2.0), x[:, 0] + x[:, 2], x[:, 1], 0.04)
    return np.where(handle, np.array([0.05, 0.20, 0.30]) + 0.18 * grain[:, None], out)


def table_albedo(u_m: np.ndarray, v_m: np.ndarray) -> np.ndarray:
    """(N,) metres on the table -> (N, 3) linear RGB: planks with grain."""
    grain = sample_tile(noise_tile(5, (14.0, 1.2)), u_m, v_m, 0.25)
    fine = sample_tile(noise_tile(6, 1.2), u_m, v_m, 0.12)
    plank = (np.floor(v_m / 0.09) % 3) * 0.06
    return np.array([0.42, 0.25, 0.12]) * (0.55 + 0.6 * grain + 0.35 * fine + plank)[:, None]


def wall_albedo(u_m: np.ndarray, v_m: np.ndarray) -> np.ndarray:
    """(N,) metres on the wall -> (N, 3) linear RGB: dark stone with bright veins."""
    cloud = sample_tile(noise_tile(7, 9.0), u_m, v_m, 0.5)
    vein = np.exp(-40 * np.abs(sample_tile(noise_tile(8, 12.0), u_m, v_m, 0.4) - 0.5))
    fine = sample_tile(noise_tile(9, 1.2), u_m, v_m, 0.15)
    return np.array([0.10, 0.10, 0.11]) * (0.5 + cloud + 2.5 * vein + 0.6 * fine)[:, None]


@cache
def _label(title: str, line: str, seed: int) -> np.ndarray:
    """Printed sheet (H, W, 3) float32 linear RGB: white with blobs of flat colour, a title, small print and a bar code."""
    w, h = (int(2 * m * LABEL_PX_PER_M) for m in _LABEL_HALF_M)
    rng = np.random.default_rng(seed)
    sheet = np.full((h, w, 3), 225, np.uint8)
    for _ in range(7):
        centre, axes = rng.integers((0, 0), (w, h)), rng.integers(60, 190, 2)
        cv2.ellipse(
            sheet,
            tuple(map(int, centre)),
            tuple(map(int, axes)),
            int(rng.integers(180)),
            0,
            360,
            tuple(map(int, rng.integers(20, 230, 3))),
            -1,
            cv2.LINE_AA,
        )
    ink = tuple(map(int, rng.integers(0, 90, 3)))
    cv2.putText(sheet, title, (int(w * 0.16), int(h * 0.46)), cv2.FONT_HERSHEY_DUPLEX, 5.2, ink, 14, cv2.LINE_AA)
    cv2.putText(sheet, line, (int(w * 0.18), int(h * 0.54)), cv2.FONT_HERSHEY_SIMPLEX, 2.6, ink, 6, cv2.LINE_AA)
    for i in range(4):
        cv2.putText(
            sheet,
            "keep upright, store dry " * 2,
            (int(w * 0.16), int(h * (0.60 + 0.035 * i))),
            cv2.FONT_HERSHEY_PLAIN,
            2.4,
            (40, 40, 40),
            3,
            cv2.LINE_AA,
        )
    x = int(w * 0.55)
    for width in rng.integers(3, 11, 26):
        cv2.rectangle(sheet, (x, int(h * 0.78)), (x + int(width) // 2, int(h * 0.86)), (20, 20, 20), -1)
        x += int(width)
    return (cv2.GaussianBlur(sheet, (0, 0), 2).astype(np.float32) / 255) ** 2.2


def _sample_label(sheet: np.ndarray, x_m: np.ndarray, y_m: np.ndarray) -> np.ndarray:
    u = ((x_m + _LABEL_HALF_M[0]) * LABEL_PX_PER_M).astype(np.float32)
    v = ((y_m + _LABEL_HALF_M[1]) * LABEL_PX_PER_M).astype(np.float32)
    return sample_list(sheet, u, v, cv2.BORDER_REPLICATE).astype(np.float64)


@cache
def noise_tile(seed: int, smooth_px: float | tuple[float, float]) -> np.ndarray:
    """(512, 512) float32 periodic smooth noise in 0..1."""
    sx, sy = smooth_px if isinstance(smooth_px, tuple) else (smooth_px, smooth_px)
    noise = np.random.default_rng(seed).standard_normal((512, 512)).astype(np.float32)
    padded = cv2.copyMakeBorder(noise, 64, 64, 64, 64, cv2.BORDER_WRAP)
    smooth = cv2.GaussianBlur(padded, (0, 0), sigmaX=sx, sigmaY=sy)[64:-64, 64:-64]
    return np.clip(0.5 + 0.22 * smooth / smooth.std(), 0, 1)


def sample_tile(tile: np.ndarray, u_m: np.ndarray, v_m: np.ndarray, size_m: float) -> np.ndarray:
    """(N,) metres on a tile of `size_m` that repeats -> (N,) values."""
    n = tile.shape[0]
    wrap = np.pad(tile, ((0, 1), (0, 1)), mode="wrap")
    u, v = (np.mod(a / size_m, 1.0) * n for a in (u_m, v_m))
    return sample_list(wrap, u.astype(np.float32), v.astype(np.float32), cv2.BORDER_REPLICATE).astype(np.float64)


def sample_list(image: np.ndarray, u: np.ndarray, v: np.ndarray, border: int) -> np.ndarray:
    """Bilinear values of `image` at (N,) px; cv2.remap wants maps below 32767 rows, so the list is folded."""
    n, width = len(u), 8192
    pad = (-n) % width if n else width

    def fold(a):
        return np.pad(a, (0, pad)).reshape(-1, width)

    out = cv2.remap(image, fold(u), fold(v), cv2.INTER_LINEAR, borderMode=border)
    return out.reshape(-1, *image.shape[2:])[:n]
