"""How thin the object's thinnest part is, read from the masks: grids must be finer than that, or a shaft between two bodies is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.surface.views.views import View

LEAST_RADIUS_PX = 1.5
"""thinner than three pixels is what masks get wrong anyway"""
STEP = 0.84
"""from one radius tried to the next: four to the halving"""
LONG = 8.0
"""area in squared radii from which a part is long (twice its width) and not the corner or the bump of a thicker one"""
SHOWN_BY = 0.25
"""share of the trusted views that must show a part as thin"""
ACROSS = 3.0
"""voxels of the first grid across the thinnest part, and twice those of the rounds': the first one's blur (one voxel) takes a radius of
1.25 voxels away altogether; later grids hold whatever is wider than a voxel"""
MOST_VOXELS = 2_000_000
"""of a grid that is made finer for a thin part: 120 MB"""


@dataclass(frozen=True)
class Fineness:
    """Voxels in metres: of the first grid, the largest that the rounds may take (inf: any), and the width that they are made for (inf: the
    object has no thin part)."""

    first: float
    most: float
    thinnest: float


def fineness(views: Sequence[View], low: np.ndarray, high: np.ndarray, cells: int, footprint: float) -> Fineness:
    """Grids for the box low..high: `cells` along its diagonal, and finer where the masks show a part that those would lose, as far as a
    pixel on the object (`footprint`, metres) and the memory allow."""
    coarse = float(np.linalg.norm(high - low)) / cells
    least = max(footprint, float(np.prod(high - low) / MOST_VOXELS) ** (1 / 3))
    thinnest = thinnest_part(views, ACROSS * coarse)
    if not np.isfinite(thinnest) or least >= coarse:
        return Fineness(coarse, np.inf, np.inf)
    first = max(thinnest / ACROSS, least)
    return Fineness(first, 2 * first, thinnest)


def thinnest_part(views: Sequence[View], most: float) -> float:
    """Width in metres of the thinnest long part that the masks show, at least 3 px; inf when none is thinner than `most`.

    An opening of the mask with a disc takes away what is narrower than the disc (granulometry, Matheron 1975); a part counts when what
    goes is long. A quarter of the views must show it: a sliver of shadow in a few masks is none of the object's.
    """
    widths = sorted(_width(v, most) for v in views if v.trust >= 0.5)
    return widths[int(SHOWN_BY * (len(widths) - 1))] if widths else np.inf


def _width(view: View, most: float) -> float:
    known = view.depth[np.isfinite(view.depth)]
    if known.size == 0:
        return np.inf
    pixel = float(np.median(known)) / view.rig.fx
    radius, width = most / pixel / 2, np.inf
    while radius >= LEAST_RADIUS_PX and _has_thin_part(view.outline, radius):
        radius *= STEP
        width = 2 * radius * pixel
    return width


def _has_thin_part(outline: np.ndarray, radius: float) -> bool:
    """Whether an opening of the mask (`outline` > 0, signed distance in px) with a disc of `radius` px takes a long part away."""
    import cv2

    outside_core = (outline <= radius).astype(np.uint8)
    rest = (outline > 0) & (cv2.distanceTransform(outside_core, cv2.DIST_L2, 5) > radius + 1)
    if rest.sum() < LONG * radius**2:
        return False
    stats = cv2.connectedComponentsWithStats(rest.astype(np.uint8))[2]
    return bool(stats[1:, cv2.CC_STAT_AREA].max() >= LONG * radius**2)
