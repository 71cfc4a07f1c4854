"""The support of one frame seen from above, in metres, and the marks on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform
from stages.core.geometry.support_plane import support_plane
from stages.turntable.config import TurntableConfig

LEAST_RESOLUTION_M = 0.0004
MOST_SIDE = 1600
"""px of the view from above"""
ROUND_MASK_PX = 9
"""a mask may be off by so much, and an outline is no mark"""
MOST_POINTS = 20_000
LONGEST, FILLED = 2.5, 0.5
"""times as long as wide that a mark may be, and the least share of its box that it fills"""


@dataclass(frozen=True)
class SupportView:
    """support_from_left (4, 4): y down along the support's normal, the support is y = 0, the origin lies under the object's middle; marks
    (M, 2) x and z on it, metres; the object's points (N, 3) in the left camera; its size, metres."""

    frame: int
    support_from_left: np.ndarray
    marks: np.ndarray
    own: np.ndarray
    around: np.ndarray
    size_m: float


def look_down(
    frame: int, rig: Rig, gray: np.ndarray, mask: np.ndarray, disparity: np.ndarray, config: TurntableConfig, seed: int
) -> SupportView | None:
    """None where no plane is found under the object. `disparity` px, NaN = none."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((ROUND_MASK_PX, ROUND_MASK_PX), np.uint8)) > 0
    own, around = _points(rig, disparity, mask), _points(rig, disparity, ~grown)
    if len(own) < 100:
        return None
    middle = np.median(own, 0)
    size = float(np.ptp(np.percentile(own, (2, 98), axis=0), axis=0).max())
    plane = support_plane(own, around, seed)
    if plane is None:
        return None
    pose = _frame(plane, middle)
    marks = _marks(rig, gray, grown, pose, size=size, config=config)
    return SupportView(
        frame, pose, marks, own, around=around[np.linalg.norm(around - middle, axis=1) < 1.5 * size], size_m=size
    )


def _points(rig: Rig, disparity: np.ndarray, where: np.ndarray) -> np.ndarray:
    v, u = np.nonzero(np.isfinite(disparity) & where)
    step = max(1, len(u) // MOST_POINTS)
    u, v = u[::step], v[::step]
    return rig.backproject(np.column_stack([u, v]), rig.depth_from_disparity(disparity[v, u]))


def _frame(plane: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """support_from_left of a plane n.x + d = 0 whose normal points down."""
    y = plane[:3]
    foot = middle - (y @ middle + plane[3]) * y
    z = np.array([0.0, 0.0, 1.0]) - y[2] * y
    if np.linalg.norm(z) < 0.1:  # the camera looks straight down
        z = np.array([0.0, 1.0, 0.0]) - y[1] * y
    z /= np.linalg.norm(z)
    out = np.eye(4)
    out[:3, :3] = np.stack([np.cross(y, z), y, z])
    out[:3, 3] = -out[:3, :3] @ foot
    return out


def _marks(
    rig: Rig, gray: np.ndarray, hidden: np.ndarray, support_from_left: np.ndarray, size: float, config: TurntableConfig
) -> np.ndarray:
    """(M, 2) metres: small compact spots darker or brighter than what is round them."""
    reach = config.reach * size
    pixel = float(np.linalg.norm(inverse(support_from_left)[:3, 3])) / rig.fx
    step = max(LEAST_RESOLUTION_M, 0.7 * pixel, 2 * reach / MOST_SIDE)
    side = int(2 * reach / step)
    x, z = np.meshgrid((np.arange(side) - side / 2) * step, (np.arange(side) - side / 2) * step)
    uv = rig.project(transform(inverse(support_from_left), np.stack([x, np.zeros_like(x), z], -1).reshape(-1, 3)))
    uv = np.nan_to_num(uv, nan=-1e6).astype(np.float32).reshape(side, side, 2)
    top = cv2.remap(gray, uv[..., 0], uv[..., 1], cv2.INTER_LINEAR)
    seen = cv2.remap((~hidden).astype(np.uint8), uv[..., 0], uv[..., 1], cv2.INTER_NEAREST) > 0
    window = 2 * round(1.5e-3 * config.mark_mm[1] / step) + 1
    usual = cv2.medianBlur(top, max(3, window))
    off = top.astype(np.int16) - usual
    found = [
        m for sign in (-1, 1) for m in _spots(sign * off > config.contrast, np.abs(off), seen, step, config=config)
    ]
    return np.array(found).reshape(-1, 2)


def _spots(
    on: np.ndarray, weight: np.ndarray, seen: np.ndarray, step: float, config: TurntableConfig
) -> Iterator[np.ndarray]:
    least, most = (1e-3 * w / step for w in config.mark_mm)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(on.astype(np.uint8))
    for k in range(1, count):
        x, y, w, h, area = boxes[k]
        if not (least <= max(w, h) <= most and max(w, h) <= LONGEST * min(w, h) and area >= FILLED * w * h):
            continue
        part = np.s_[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2]
        if not seen[part].all():
            continue
        v, u = np.nonzero(labels[part] == k)
        share = weight[part][v, u].astype(float)
        middle = np.array([(u * share).sum(), (v * share).sum()]) / share.sum() + (part[1].start, part[0].start)
        yield (middle - on.shape[0] / 2) * step
