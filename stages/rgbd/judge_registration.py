"""Do depth and colour belong together, pixel by pixel? Edges of both must meet; a shift that fits clearly better is told."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

REACH, STEP = 24, 2
"""px at `WIDTH`: shifts tried"""
WIDTH = 640
LEAST_EDGES = 300
"""pixels of depth edges in one picture"""
SURE_PX, CLEARLY = 5.0, 1.25
"""a shift of so many px (at `WIDTH`) that meets so much more colour contrast than none is told"""


def best_shift(colour: np.ndarray, z: np.ndarray) -> tuple[float, float, float] | None:
    """(dx, dy, gain): edges of depth z (H, W) moved by (dx, dy) px lie on `gain` times the contrast; None with too few edges."""
    scale = WIDTH / colour.shape[1]
    size = (WIDTH, round(colour.shape[0] * scale))
    gray = cv2.GaussianBlur(
        cv2.resize(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA), (0, 0), 1.0
    )
    contrast = cv2.blur(np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)), (3, 3))
    contrast = np.sqrt(contrast)  # one bright edge must not outvote all others
    edges = _edges(cv2.resize(z, size, interpolation=cv2.INTER_NEAREST))
    if len(edges) < LEAST_EDGES:
        return None
    shifts = [(dx, dy) for dx in range(-REACH, REACH + 1, STEP) for dy in range(-REACH, REACH + 1, STEP)]
    scores = []
    for dx, dy in shifts:
        u, v = np.clip(edges[:, 0] + dx, 0, size[0] - 1), np.clip(edges[:, 1] + dy, 0, size[1] - 1)
        scores.append(float(contrast[v, u].mean()))
    best = int(np.argmax(scores))
    return shifts[best][0] / scale, shifts[best][1] / scale, scores[best] / max(scores[shifts.index((0, 0))], 1e-6)


def _edges(z: np.ndarray) -> np.ndarray:
    """(N, 2) px on the near side of steps by a tenth of the depth or more, both sides known within a few pixels."""
    far = cv2.dilate(np.where(np.isfinite(z), z, -np.inf).astype(np.float32), np.ones((5, 5), np.uint8))
    with np.errstate(invalid="ignore"):
        v, u = np.nonzero(np.isfinite(z) & (far > 1.1 * z) & (z < 3))
    return np.stack([u, v], 1)


def words(found: Sequence[tuple[float, float, float]], width: int) -> str:
    """A warning where several pictures agree on a shift, "" else."""
    if len(found) < 2:
        return ""
    dx, dy, gain = np.median(found, 0)
    spread = float(np.median(np.hypot(*(np.array(found)[:, :2] - [dx, dy]).T)))
    if np.hypot(dx, dy) * WIDTH / width < SURE_PX or gain < CLEARLY or spread > SURE_PX * width / WIDTH:
        return ""
    return (
        f"depth and colour do not lie on each other: edges fit {100 * (gain - 1):.0f} % better moved by {dx:.0f}, {dy:.0f} px. "
        "Depth that is not registered needs the depth sensor's lens and place (camera.json: depth, color_from_depth)"
    )
