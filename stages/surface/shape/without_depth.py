"""Where the object is and how large its pixels are when no picture has depth: from the outlines alone.

The box is that of a coarse visual hull. It starts in a cube round the point that the middles of all masks agree on, grows where the hull
reaches its walls, and is carved a second time in the box found first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.surface.views.views import View

CELLS = 48
MOST_GROWTHS = 4
LEAST_SHARE = 0.3
"""of the views must have a place in their picture for it to count: one picture alone bounds nothing"""
SPREAD = 1.6
"""first cube's half edge, in half diagonals of the masks' boxes at the object's distance"""


def has_depth(views: Sequence[View]) -> bool:
    """Whether any view has."""
    return any(np.isfinite(v.depth).any() for v in views)


def silhouette_box(views: Sequence[View], margin: float = 0.06) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of a box that holds the visual hull, widened by `margin` of its diagonal. Raises ValueError where the masks have no
    common part."""
    centre, half = _start(views)
    low, high = centre - half, centre + half
    for _ in range(MOST_GROWTHS):
        found = _carved(views, low, high)
        if found is None:
            raise ValueError("the masks of the views have no common part in space: cameras or masks are wrong")
        cell = (high - low).max() / CELLS
        if ((found[0] - low > 1.5 * cell) & (high - found[1] > 1.5 * cell)).all():
            break
        low, high = centre - 1.8 * (centre - low), centre + 1.8 * (high - centre)
    low, high = _carved(views, *_widened(*found, 0.1)) or found
    return _widened(low, high, margin)


def distance_of(view: View, points: np.ndarray) -> np.ndarray:
    """(N,) depth of points along the optical axis."""
    return points @ view.left_from_object[2, :3] + view.left_from_object[2, 3]


def footprint_by_outlines(views: Sequence[View]) -> float:
    """Size of a pixel at the middle of the object: median over the views."""
    low, high = silhouette_box(views)
    middle = ((low + high) / 2)[None]
    return float(np.median([distance_of(v, middle)[0] / v.rig.fx for v in views]))


def _widened(low: np.ndarray, high: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    slack = margin * np.linalg.norm(high - low)
    return low - slack, high + slack


def _start(views: Sequence[View]) -> tuple[np.ndarray, float]:
    """Point nearest to the rays through the masks' middles, and half the edge of a cube that holds every mask's box there."""
    eyes, rays, spans = [], [], []
    for v in views:
        rows, cols = np.nonzero(v.outline > 0)
        middle = np.array([(cols.min() + cols.max()) / 2, (rows.min() + rows.max()) / 2])
        ray = v.object_from_left[:3, :3] @ v.rig.rays(middle)
        eyes.append(v.object_from_left[:3, 3])
        rays.append(ray / np.linalg.norm(ray))
        spans.append(np.hypot(np.ptp(cols), np.ptp(rows)) / 2 / v.rig.fx)
    eyes, rays = np.array(eyes), np.array(rays)
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    # a little of the identity: of parallel cameras the point nearest to their own middle
    A = across.sum(0) + 1e-6 * len(views) * np.eye(3)
    centre = np.linalg.solve(A, (across @ eyes[:, :, None]).sum(0)[:, 0] + 1e-6 * eyes.sum(0))
    sizes = np.array(spans) * np.linalg.norm(centre - eyes, axis=1)
    return centre, SPREAD * float(np.median(sizes))


def _carved(views: Sequence[View], low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Box of the cells that no mask carves away; None when nothing is left. One mask of twenty may be wrong."""
    axes = [np.linspace(a, b, CELLS) for a, b in zip(low, high, strict=True)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    misses, looked = np.zeros(len(x), np.int32), np.zeros(len(x), np.int32)
    # a cell counts as inside where any of it may be
    reach = float(np.linalg.norm((high - low) / (CELLS - 1))) / 2
    for v in views:
        inside, there = _inside(v, x, reach)
        misses += there & ~inside
        looked += there
    kept = (misses <= len(views) // 20) & (looked >= max(2, LEAST_SHARE * len(views)))
    return (x[kept].min(0), x[kept].max(0)) if kept.any() else None


def _inside(view: View, x: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """(within `reach` of the mask, in the picture and not hidden), bool (N,). A mask that the border does not cut says of what lies outside
    the picture too: there is nothing of the object."""
    z = distance_of(view, x)
    uv = view.rig.project(x @ view.left_from_object[:3, :3].T + view.left_from_object[:3, 3])
    u0, v0, u1, v1 = view.picture_box
    there = (z > 0) & (uv[:, 0] >= u0) & (uv[:, 1] >= v0) & (uv[:, 0] <= u1) & (uv[:, 1] <= v1)
    at = np.rint(np.where(there[:, None], uv, 0)).astype(int)
    h, w = view.outline.shape
    col, row = np.clip(at[:, 0], 0, w - 1), np.clip(at[:, 1], 0, h - 1)
    away = np.hypot(at[:, 0] - col, at[:, 1] - row)
    if view.hidden is not None:
        there &= ~view.hidden[row, col]
    near = (view.outline[row, col] - away) * np.where(z > 0, z, 1) / view.rig.fx > -reach
    return (near & there, np.ones_like(there)) if _whole(view) else (near, there)


def _whole(view: View) -> bool:
    """Whether the mask ends within the picture on all sides, and nothing hides a part of it."""
    u0, v0, u1, v1 = view.picture_box
    rows, cols = np.nonzero(view.outline > 0)
    inner = cols.min() > u0 + 2 and rows.min() > v0 + 2 and cols.max() < u1 - 2 and rows.max() < v1 - 2
    return bool(inner) and view.hidden is None
