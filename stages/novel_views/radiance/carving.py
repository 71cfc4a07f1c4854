"""Cells that the outlines rule out: a field that learns from pictures with masks never asks there."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numba import njit

from stages.core.camera import Rig
from stages.core.field.hash_grid import KERNEL, ZERO
from stages.core.field.thread_team import ThreadTeam
from stages.novel_views.radiance.marching import CELLS
from stages.novel_views.radiance.space import Frame

MASK_PIXELS = 160_000
"""of a mask as it is looked at"""
MARGIN_PX = 1.0
LOOKING = 0.5
"""of the pictures show all of the object, where its box is not known"""
LEAST_INSIDE = 0.95
"""of the pictures that look at a cell must show the object there: a mask may be wrong"""


def carved(
    frame: Frame,
    rig: Rig,
    poses: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    team: ThreadTeam,
    looking: float = 0.0,
) -> np.ndarray:
    """(CELLS,) * 3 bool: cells of a bounded space that lie in nearly all outlines. `masks`: (H, W) bool, what is unknown is set;
    `looking`: share of the pictures that have to show a cell's place at all."""
    small = rig.scaled(min(1.0, float(np.sqrt(MASK_PIXELS / (rig.width * rig.height)))))
    middle = frame.low + frame.size / 2
    away = np.median([float((middle - p[:3, 3]) @ p[:3, 2]) for p in poses])
    reach = 0.87 * frame.size / CELLS * small.fx / max(float(away), 1e-9) + MARGIN_PX  # half a cell's diagonal
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(np.ceil(reach)) + 1,) * 2)
    wide = np.stack([cv2.dilate(_shrunk(m, small), around) for m in masks])
    K = np.array([small.fx, small.fy, small.cx, small.cy])
    turn, eye = np.stack([p[:3, :3] for p in poses]), np.stack([p[:3, 3] for p in poses])
    kept, least = np.zeros((CELLS,) * 3, np.uint8), max(1, round(looking * len(poses)))
    team.run(
        lambda job: _carve(
            job, frame.low, frame.size, K, turn=turn, eye=eye, wide=wide, least=LEAST_INSIDE, looking=least, kept=kept
        ),
        CELLS,
    )
    return kept > 0


def box_of_outlines(
    rig: Rig, poses: Sequence[np.ndarray], masks: Sequence[np.ndarray], threads: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of the cells that the outlines leave: the object's box where there is no mesh. Raises ValueError where none are left."""
    eyes, axes = np.stack([p[:3, 3] for p in poses]), np.stack([p[:3, 2] for p in poses])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    middle = np.linalg.lstsq(across.sum(0), (across @ eyes[:, :, None]).sum(0)[:, 0], rcond=None)[0]
    size, team = float(np.linalg.norm(eyes - middle, axis=1).min()), ThreadTeam(threads)
    low = middle - size / 2  # no camera stands in the object
    for _ in range(2):  # the second time with cells as large as the object asks for
        at = np.argwhere(carved(Frame(low, size, False), rig, poses, masks, team=team, looking=LOOKING))
        if len(at) == 0:
            raise ValueError("the outlines have nothing in common")
        low, high = low + at.min(0) * size / CELLS, low + (at.max(0) + 1) * size / CELLS
        box, size = (low, high), float((high - low).max()) * 1.05
        low = (box[0] + box[1]) / 2 - size / 2
    return box


def _shrunk(mask: np.ndarray, rig: Rig) -> np.ndarray:
    """Pixels that show any of the object."""
    return (cv2.resize(mask.astype(np.float32), (rig.width, rig.height), interpolation=cv2.INTER_AREA) > 0).astype(
        np.uint8
    )


@njit(**KERNEL)
def _carve(i, low, size, K, turn, eye, wide, least, looking, kept):
    """One plane of cells."""
    n, views, height, width = kept.shape[0], wide.shape[0], wide.shape[1], wide.shape[2]
    x = low[0] + (i + 0.5) / n * size
    for j in range(n):
        y = low[1] + (j + 0.5) / n * size
        for k in range(n):
            z = low[2] + (k + 0.5) / n * size
            looked, outside = 0, 0
            for v in range(views):
                a, b, c = x - eye[v, 0], y - eye[v, 1], z - eye[v, 2]
                depth = a * turn[v, 0, 2] + b * turn[v, 1, 2] + c * turn[v, 2, 2]
                if depth <= ZERO:
                    continue
                u = int(
                    np.floor((a * turn[v, 0, 0] + b * turn[v, 1, 0] + c * turn[v, 2, 0]) / depth * K[0] + K[2] + 0.5)
                )
                w = int(
                    np.floor((a * turn[v, 0, 1] + b * turn[v, 1, 1] + c * turn[v, 2, 1]) / depth * K[1] + K[3] + 0.5)
                )
                if u < 0 or w < 0 or u >= width or w >= height:
                    continue
                looked += 1
                outside += 1 - wide[v, w, u]
            kept[i, j, k] = looked >= looking and looked - outside >= least * looked
