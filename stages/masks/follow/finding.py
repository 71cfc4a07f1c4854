"""Where the object is when nobody says: what moves before a still camera, else the nearest compact thing that stands off its support."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stages.masks.cut.planes import fit_planes, plane_map, standing_out
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.background import frame_gain

Box = tuple[float, float, float, float]
SMALLEST, LARGEST = 0.004, 0.7
"""share of the picture that an object covers"""


def find_by_motion(pictures: Sequence[np.ndarray], size: tuple[int, int]) -> Box | None:
    """Box (x0, y0, x1, y1 in px of a picture of `size` = (width, height)) round everything that changes in (h, w, 3) uint8 `pictures`."""
    reference = pictures[0].astype(np.float32)
    everywhere = np.ones(reference.shape[:2], bool)
    changed = np.zeros(reference.shape[:2], np.float32)
    for picture in pictures[1:]:
        gain = frame_gain(picture, reference, everywhere)
        difference = np.abs(cv2.GaussianBlur(picture / gain - reference, (0, 0), 1.5)).max(-1)
        changed = np.maximum(changed, difference)
    moving = cv2.morphologyEx((changed > 12).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    return _best_box(moving > 0, None, size, margin=0.03)


def find_by_depth(view: WorkingFrame, rng: np.random.Generator) -> Box | None:
    """Box round the best region that is clearly nearer than the picture's dominant plane."""
    v, u = np.nonzero(np.isfinite(view.disparity))
    planes = fit_planes(u, v, view.disparity[v, u], view.sigma[v, u], rng, count=1)
    if not planes:
        return None
    near = standing_out(view.disparity, view.sigma, [(plane_map(planes[0], view.shape), planes[0].sigma_px)])
    size = max(3, view.shape[1] // 160)
    near = cv2.morphologyEx(near.astype(np.uint8), cv2.MORPH_OPEN, np.ones((size, size), np.uint8))
    near = cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((3 * size, 3 * size), np.uint8))
    return _best_box(near > 0, view.disparity, (view.shape[1], view.shape[0]), margin=0.12)


def _best_box(region: np.ndarray, disparity: np.ndarray | None, size: tuple[int, int], margin: float) -> Box | None:
    """The component of `region` that is large, near the centre and (with disparity) near the camera; None when none qualifies."""
    count, labels, stats, centres = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    h, w = region.shape
    best, best_score = None, 0.0
    for i in range(1, count):
        x, y, bw, bh, area = stats[i]
        if not SMALLEST < area / (h * w) < LARGEST or bw > 0.95 * w:
            continue
        off_centre = np.hypot(centres[i][0] - w / 2, centres[i][1] - h / 2) / np.hypot(w, h)
        nearness = 1.0 if disparity is None else float(np.nanmedian(disparity[labels == i]))
        score = np.sqrt(area) * np.exp(-((off_centre / 0.3) ** 2)) * nearness
        if score > best_score:
            best, best_score = (x, y, x + bw - 1, y + bh - 1), score
    if best is None:
        return None
    grow, sx, sy = margin * max(best[2] - best[0], best[3] - best[1]), size[0] / w, size[1] / h
    return (
        max(0.0, (best[0] - grow) * sx),
        max(0.0, (best[1] - grow) * sy),
        min(size[0] - 1.0, (best[2] + grow + 1) * sx),
        min(size[1] - 1.0, (best[3] + grow + 1) * sy),
    )
