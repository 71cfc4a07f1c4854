"""Variance-weighted fusion of depth into a voxel grid, and the visual hull of the masks as a signed distance.

Each depth reading votes for the projective signed distance along its ray (Curless and Levoy 1996) with weight 1 / (sigma_z^2 + floor^2),
so that flat, uncertain pixels hardly vote. The floor stands for what neighbouring pixels get wrong together.
What lies behind something that stands before the object (`View.veil`) gets no vote of that view, neither in nor out.
The hull at a voxel is the k-th smallest signed distance to the outline over the views: k - 1 bad masks cannot carve.
Positive distances are outside the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from stages.core.parallel import ordered_map
from stages.surface.shape.grid import Grid
from stages.surface.views.views import View

MAX_HULL_RANK = 4
LOOKED_AT_SHARE = 0.25
"""share of the views (of those that look at the best seen voxel) that must have a voxel in their picture for it to be inside the hull:
an object that leaves the picture on one side in a few views would go on there for ever, and no other view could carve it"""
NO_VEIL = np.empty((0, 0), np.float32)


@dataclass
class Fused:
    """Per voxel of `grid`, float32, metres. `weight` is the inverse variance (1/m^2) of `distance`; 0 = no depth there."""

    grid: Grid
    distance: np.ndarray
    weight: np.ndarray
    through: np.ndarray
    """(.., uint16) readings that saw clearly past the voxel: more than 3 sigma and a voxel, along a ray well inside the outline"""
    beside: np.ndarray
    """(.., uint16) readings that may have met the surface there"""
    looked: np.ndarray
    """share (0-1) of the views that have the voxel in their picture, hidden or not, of those that have the best seen one"""
    hull: np.ndarray
    """signed distance to the visual hull, positive outside; where fewer than `hull_rank` trusted views looked, or hardly any of those that
    look elsewhere: at least one voxel, so outside"""

    @property
    def seen_past(self) -> np.ndarray:
        """bool: more than twice as many readings saw past the voxel as may have met the surface there"""
        return self.through > 2 * self.beside.astype(int)


@dataclass(frozen=True)
class Voting:
    """How a depth reading votes, all in metres."""

    truncation: float
    """so far before and behind it"""
    floor: float
    """of its sigma: what neighbouring pixels get wrong together"""
    doubt: float
    """sigma at which it counts half as much as its variance alone says"""
    rim: float = 0.0
    """rays that pass the outline within this (at the voxel) do not count as having seen through: depth there is half background"""


def fuse(views: Sequence[View], grid: Grid, voting: Voting, hull_rank: int, workers: int) -> Fused:
    """Fuse all views. The sums run view by view, so the result does not depend on `workers`."""
    if not 1 <= hull_rank <= MAX_HULL_RANK:
        raise ValueError(f"hull_rank {hull_rank} is not in 1..{MAX_HULL_RANK}")
    total, weight = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    through, beside = np.zeros(grid.shape, np.uint16), np.zeros(grid.shape, np.uint16)
    smallest, looked = np.full((*grid.shape, hull_rank), np.inf, np.float32), np.zeros(grid.shape, np.uint16)
    hidden = np.zeros(grid.shape if any(v.veil is not None for v in views) else (0, 0, 0), np.uint16)
    slabs = np.array_split(np.arange(grid.shape[0]), min(grid.shape[0], 4 * workers))

    def work(slab: np.ndarray) -> None:
        a, b = int(slab[0]), int(slab[-1]) + 1
        for view in views:
            pose = view.left_from_object
            start, step = pose[:3, :3] @ grid.origin + pose[:3, 3], pose[:3, :3] * grid.voxel
            rig = view.rig
            _fuse_slab(
                total,
                weight,
                through,
                beside,
                smallest=smallest,
                looked=looked,
                hidden=hidden,
                first=a,
                last=b,
                start=start,
                step=step,
                intrinsics=np.array([rig.fx, rig.fy, rig.cx, rig.cy]),
                depth=view.depth,
                sigma=view.sigma,
                outline=view.outline,
                veil=NO_VEIL if view.veil is None else view.veil,
                picture=np.array(view.picture_box),
                silhouette=view.trust >= 0.5,
                truncation=voting.truncation,
                floor=voting.floor,
                doubt=voting.doubt,
                voxel=grid.voxel,
                rim=voting.rim,
            )

    list(ordered_map(work, slabs, workers))
    deciding = _deciding(smallest, looked, hidden)
    hull = np.where(np.isfinite(deciding), -deciding, np.float32(grid.voxel))
    known = looked if hidden.size == 0 else looked + hidden
    share = known / np.float32(max(1, known.max()))
    hull = np.where(share < LOOKED_AT_SHARE, np.maximum(hull, np.float32(grid.voxel)), hull)
    distance = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return Fused(grid, distance, weight, through, beside=beside, looked=share, hull=hull)


def _deciding(smallest: np.ndarray, looked: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The distance to the outline that decides at each voxel: of the `hull_rank`-th view, or of an earlier one in proportion where the
    voxel is hidden in some views: of fewer looks fewer come from bad masks, and what hardly anybody saw must not stand for that."""
    rank = smallest.shape[-1]
    if hidden.size == 0:
        return smallest[..., rank - 1]
    total = np.maximum(looked.astype(np.int64) + hidden, 1)
    needed = np.maximum(-(-rank * looked.astype(np.int64) // total), 1)
    return np.take_along_axis(smallest, needed[..., None] - 1, -1)[..., 0]


@numba.njit(nogil=True, cache=True, fastmath=False)
def _fuse_slab(
    total,
    weight,
    through,
    beside,
    smallest,
    looked,
    hidden,
    first,
    last,
    start,
    step,
    intrinsics,
    depth,
    sigma,
    outline,
    veil,
    picture,
    silhouette,
    truncation,
    floor,
    doubt,
    voxel,
    rim,
):
    fx, fy, cx, cy = intrinsics
    height, width = depth.shape
    for i in range(first, last):
        for j in range(total.shape[1]):
            for k in range(total.shape[2]):
                x = start[0] + step[0, 0] * i + step[0, 1] * j + step[0, 2] * k
                y = start[1] + step[1, 0] * i + step[1, 1] * j + step[1, 2] * k
                z = start[2] + step[2, 0] * i + step[2, 1] * j + step[2, 2] * k
                if z <= 1e-6:
                    continue
                u, v = fx * x / z + cx, fy * y / z + cy
                if u < picture[0] or v < picture[1] or u > picture[2] or v > picture[3]:
                    continue
                iu, iv = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
                ju, jv = min(max(iu, 0), width - 1), min(max(iv, 0), height - 1)
                if veil.size > 0 and z + voxel > veil[jv, ju]:
                    if silhouette:
                        hidden[i, j, k] += 1
                    continue
                if silhouette:
                    looked[i, j, k] += 1
                    away = np.sqrt(float((iu - ju) ** 2 + (iv - jv) ** 2))
                    _keep_smallest(smallest[i, j, k], (outline[jv, ju] - away) * z / fx)
                if iu != ju or iv != jv or outline[jv, ju] <= 0:
                    continue
                measured, variance = _depth_near(depth, sigma, ju, jv)
                gap = measured - z
                if variance <= 0 or gap < -truncation:
                    continue
                if gap > 3 * np.sqrt(variance) + voxel:
                    if outline[jv, ju] * z / fx >= rim:
                        through[i, j, k] += 1
                else:
                    beside[i, j, k] += 1
                if gap > truncation:
                    if gap < 3 * np.sqrt(variance):
                        continue
                    gap = truncation
                w = 1 / ((variance + floor * floor) * (1 + variance / (doubt * doubt)))
                total[i, j, k] += w * gap
                weight[i, j, k] += w


@numba.njit(nogil=True, cache=True)
def _keep_smallest(row, value):
    """Insert into a short ascending list that drops its largest."""
    n = row.shape[0]
    if value >= row[n - 1]:
        return
    k = n - 1
    while k > 0 and row[k - 1] > value:
        row[k] = row[k - 1]
        k -= 1
    row[k] = value


@numba.njit(nogil=True, cache=True)
def _depth_near(depth, sigma, u, v):
    """Inverse-variance mean over 3x3 pixels that agree with the centre, and the centre's variance: neighbours share their error."""
    centre, spread = depth[v, u], sigma[v, u]
    if not (centre > 0 and spread > 0):
        return 0.0, -1.0
    total, weight, gate = 0.0, 0.0, 3 * spread + 0.002 * centre
    for dv in range(-1, 2):
        for du in range(-1, 2):
            a, b = v + dv, u + du
            if a < 0 or b < 0 or a >= depth.shape[0] or b >= depth.shape[1]:
                continue
            d, s = depth[a, b], sigma[a, b]
            if d > 0 and s > 0 and abs(d - centre) < gate:
                total += d / (s * s)
                weight += 1 / (s * s)
    return total / weight, spread * spread
