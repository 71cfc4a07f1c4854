"""What stands before the object: pixels off the mask whose measured depth is clearly nearer than the object is there.

A mask says where a picture shows the object. Off it, a pixel's ray either misses the object or meets something else first, a hand say; then
the picture says nothing about what lies behind, and must not carve it. Which of the two it is follows from the other frames: the object's
place is taken from cells of space that depth inside the masks of several frames met and that hardly any frame saw through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse

GLANCE_PIXELS = 120_000
"""of the small maps that are kept of every frame: about 1 MB each"""
CELL_PX = 4.0
"""edge of a cell, in pixels of the small maps on the object"""
MET_BY = 2
"""frames that must have met a cell: one leaking mask makes no object"""
SEEN_THROUGH = 0.5
"""frames that saw through a cell, as a share of those that met it, from which it is none of the object's"""
CLEARLY = 3.0
"""standard deviations by which a depth must be nearer, or behind"""
LEAST_CELLS = 0.5
"""of a cell's edge by which a depth must be nearer than the cell at least"""
GAP_PX = 5
"""width in px of a full-size picture 1280 px wide that is closed between what is hidden and the mask: depth is torn at outlines"""
LEAST_SHARE = 0.002
"""of the mask's area: a smaller hidden spot is noise at an outline"""
SPREAD = 0.3
"""of the square root of the mask's area: how far from what is known to be hidden the thing before it is followed over its own surface"""
STEP_PX = 1.0
"""of disparity between neighbours on one surface, full-size px"""


@dataclass(frozen=True)
class Glance:
    """Small maps of one frame: depth and its sigma (h, w) float32 metres along the optical axis, NaN = none; mask (h, w) bool."""

    object_from_left: np.ndarray
    rig: Rig
    depth: np.ndarray
    sigma: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class SeenObject:
    """Cells of `size` metres in which several frames saw the object: mean points (N, 3) of the readings, object frame."""

    points: np.ndarray
    size: float


def glance(
    object_from_left: np.ndarray, rig: Rig, mask: np.ndarray, disparity_px: np.ndarray, sigma_px: np.ndarray
) -> Glance:
    """From full-size maps, by the nearest pixel, so that no depth is mixed across an edge."""
    import cv2

    scale = min(1.0, float(np.sqrt(GLANCE_PIXELS / (rig.width * rig.height))))
    small = rig.scaled(scale)

    def pick(a):
        return cv2.resize(a, (small.width, small.height), interpolation=cv2.INTER_NEAREST)

    depth = rig.depth_from_disparity(pick(disparity_px)).astype(np.float32)
    sigma = (depth**2 / (rig.fx * rig.baseline_m) * pick(sigma_px)).astype(np.float32)
    return Glance(np.asarray(object_from_left, float), small, depth, sigma, mask=pick(mask.astype(np.uint8)) > 0)


def seen_object(glances: Sequence[Glance]) -> SeenObject:
    """Where the object was seen by several frames and not seen through; no points where depth says nothing."""
    inner = [_inner_readings(g) for g in glances]
    distances = [np.median(g.depth[use]) / g.rig.fx for g, use in zip(glances, inner, strict=True) if use.any()]
    if not distances:
        return SeenObject(np.empty((0, 3)), 0.0)
    size = CELL_PX * float(np.median(distances))
    parts = [_cells_of(g, use, size) for g, use in zip(glances, inner, strict=True)]
    keys, points = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    _, index, met = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    index = index.ravel()
    mean = np.stack([np.bincount(index, points[:, a]) for a in range(3)], 1) / met[:, None]
    often = met >= MET_BY
    mean, met = mean[often], met[often]
    through = sum((_saw_through(g, mean, size) for g in glances), np.zeros(len(mean), int))
    return SeenObject(mean[through <= SEEN_THROUGH * met], size)


def expected_depth(seen: SeenObject, object_from_left: np.ndarray, rig: Rig) -> np.ndarray:
    """(H, W) float32: depth of the nearest cell that covers each pixel, metres, inf where none does."""
    import cv2

    left_from_object = inverse(object_from_left)
    z = (seen.points @ left_from_object[:3, :3].T + left_from_object[:3, 3])[:, 2]
    if not bool((z > 0).any()):  # also when there is no cell
        return np.full((rig.height, rig.width), np.inf, np.float32)
    # on a map on which a cell is about a pixel and a half wide, three by three pixels cover it from any side
    scale = min(1.0, 1.5 * float(np.median(z[z > 0])) / (rig.fx * seen.size))
    small = rig.scaled(scale)
    at, z, ok = _looked_up(object_from_left, small, seen.points)
    nearest = np.full((small.height, small.width), np.inf, np.float32)
    np.minimum.at(nearest, (at[0][ok], at[1][ok]), z[ok].astype(np.float32))
    nearest = cv2.erode(nearest, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(nearest, (rig.width, rig.height), interpolation=cv2.INTER_NEAREST)


def hidden_pixels(
    expected: np.ndarray, least: float, rig: Rig, mask: np.ndarray, disparity_px: np.ndarray, sigma_px: np.ndarray
) -> np.ndarray:
    """(H, W) bool: pixels off the mask before which something stands: their depth is clearly, and by `least` metres, nearer than the object
    is expected there (`expected` metres, inf = not at all), or they go on from such pixels without a step in depth."""
    depth = rig.depth_from_disparity(disparity_px)
    with np.errstate(invalid="ignore"):
        margin = np.maximum(CLEARLY * depth**2 / (rig.fx * rig.baseline_m) * sigma_px, least)
        nearer = ~mask & np.isfinite(expected) & (depth + margin < expected)
    if not nearer.any():
        return nearer
    area = int(mask.sum()) or int(np.isfinite(expected).sum())
    return _followed(_closed(nearer, mask, area, rig), mask, area, disparity_px, rig=rig)


def right_hidden(hidden: np.ndarray, disparity_px: np.ndarray) -> np.ndarray:
    """(H, W) bool: `hidden` of the left picture as the right one shows it, by its own disparity; where unknown, by the nearest known.

    All of the right picture when nothing hidden has a disparity: it cannot be told where the thing stands in it."""
    import cv2
    from scipy.ndimage import distance_transform_edt

    known = hidden & np.isfinite(disparity_px)
    if not hidden.any():
        return hidden.copy()
    if not known.any():
        return np.ones_like(hidden)
    rows, columns = np.asarray(distance_transform_edt(~known, return_distances=False, return_indices=True))
    v, u = np.nonzero(hidden)
    right = np.rint(u - disparity_px[rows[v, u], columns[v, u]]).astype(int)
    height, width = disparity_px.shape
    out = np.zeros((height, width), np.uint8)
    ok = (right >= 0) & (right < width)
    out[v[ok], right[ok]] = 1
    # neighbours whose disparities differ by a pixel leave a gap; an edge is known to a pixel or two
    return cv2.dilate(cv2.morphologyEx(out, cv2.MORPH_CLOSE, np.ones((3, 5), np.uint8)), np.ones((3, 5), np.uint8)) > 0


def _inner_readings(g: Glance) -> np.ndarray:
    """(h, w) bool: readings inside the mask, a pixel of the small map from its outline, with an error below 1 % of their depth."""
    import cv2

    inner = cv2.erode(g.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    with np.errstate(invalid="ignore"):
        return inner & (g.sigma < 0.01 * g.depth)


def _cells_of(g: Glance, use: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """(keys (C, 3) int, mean points (C, 3)) of the cells that a frame's readings lie in."""
    v, u = np.nonzero(use)
    x = (
        g.rig.backproject(np.stack([u, v], -1), g.depth[v, u]) @ g.object_from_left[:3, :3].T
        + g.object_from_left[:3, 3]
    )
    if len(x) == 0:
        return np.empty((0, 3), np.int64), np.empty((0, 3))
    keys, index, count = np.unique(np.floor(x / size).astype(np.int64), axis=0, return_inverse=True, return_counts=True)
    index = index.ravel()
    return keys, np.stack([np.bincount(index, x[:, a]) for a in range(3)], 1) / count[:, None]


def _saw_through(g: Glance, points: np.ndarray, size: float) -> np.ndarray:
    """(N,) int 0 or 1: the frame's depth lies clearly behind the point."""
    at, z, ok = _looked_up(g.object_from_left, g.rig, points)
    depth, sigma = g.depth[at], g.sigma[at]
    with np.errstate(invalid="ignore"):
        return (ok & (depth - z > CLEARLY * sigma + size)).astype(int)


def _looked_up(
    object_from_left: np.ndarray, rig: Rig, points: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """((rows, columns), depth, in the picture) of points (N, 3) in a frame's maps; 0, 0 for those outside."""
    left_from_object = inverse(object_from_left)
    x = points @ left_from_object[:3, :3].T + left_from_object[:3, 3]
    uv = np.nan_to_num(np.rint(rig.project(x)), nan=-1.0, posinf=-1.0, neginf=-1.0)
    ok = ((uv >= 0) & (uv < (rig.width, rig.height))).all(1)
    uv = np.where(ok[:, None], uv, 0).astype(int)
    return (uv[:, 1], uv[:, 0]), x[:, 2], np.asarray(ok)


def _closed(nearer: np.ndarray, mask: np.ndarray, area: int, rig: Rig) -> np.ndarray:
    """`nearer` (H, W) without specks, and with the gaps between it and the mask closed."""
    import cv2

    size = 2 * max(1, round(GAP_PX * rig.width / 1280 / 2)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    spots = cv2.morphologyEx(nearer.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    spots = cv2.morphologyEx(spots, cv2.MORPH_OPEN, disc)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(spots)
    large = np.r_[False, stats[1:, cv2.CC_STAT_AREA] >= max(LEAST_SHARE * area, size**2)]
    found = large[labels] & ~mask
    if not found.any():
        return found
    joined = cv2.morphologyEx((found | mask).astype(np.uint8), cv2.MORPH_CLOSE, disc) > 0
    near = (
        cv2.dilate(found.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1)))
        > 0
    )
    return (found | (joined & near)) & ~mask


def _followed(spots: np.ndarray, mask: np.ndarray, area: int, disparity_px: np.ndarray, rig: Rig) -> np.ndarray:
    """`spots` (H, W) bool and the surfaces that they lie on, as far as these go on without a step in depth, off the mask and near by."""
    import cv2

    if not spots.any():
        return spots
    scale = min(1.0, float(np.sqrt(GLANCE_PIXELS / mask.size)))

    def pick(a):
        return cv2.resize(a, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)

    d, seeds = pick(np.nan_to_num(disparity_px).astype(np.float32)), pick(spots.astype(np.uint8)) > 0
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    even = (
        (d > 0)
        & (cv2.dilate(d, cross) - cv2.erode(d, cross) < 2 * STEP_PX / scale)
        & (pick(mask.astype(np.uint8)) == 0)
    )
    _, labels = cv2.connectedComponents(even.astype(np.uint8), connectivity=4)
    touched = np.unique(labels[seeds & even])
    reach = 1 + round(SPREAD * scale * float(np.sqrt(area)))
    near = cv2.distanceTransform(1 - seeds.astype(np.uint8), cv2.DIST_L2, 5) <= reach
    surface = np.isin(labels, touched[touched > 0]) & near
    whole = cv2.resize(surface.astype(np.uint8), (rig.width, rig.height), interpolation=cv2.INTER_NEAREST) > 0
    return _closed(spots | whole, mask, area, rig)
