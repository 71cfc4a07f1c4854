"""How large a surface may grow: cells of its grids and vertices of its meshes, and with them the time and the memory of the stage.

Masks of many things at once, of all of the picture, or with bands of the background in them make boxes and surfaces without end. What goes
beyond the bounds is refused with the reason, before the work is done: the last mesh is foretold from the area of each one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.surface.views.views import View

VERTICES_A_CELL = 1.6
"""vertices of marching cubes for each square of the grid's edge on the surface, slanted ones included"""
COARSER = 1.8
"""a box that has too many cells is meshed with voxels up to this much larger; beyond, it is refused"""
UNBOUNDED = 0.6
"""share of a mask's outline that lies on the picture's border, in most of the views, from which nothing bounds the object"""
FILLED = 0.9
"""share of the picture that a mask fills, in most of the views, from which it shows the scene and not an object"""


class Unbounded(ValueError):
    """What was asked for is larger than the bounds; the message names both, `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True)
class Bounds:
    """Most cells of a grid (about 80 bytes each) and most vertices of a mesh (about 2 kB each while it is fitted)."""

    cells: int = 20_000_000
    vertices: int = 600_000

    def voxel(self, low: np.ndarray, high: np.ndarray, wanted: float) -> float:
        """`wanted`, or the smallest voxel (metres) with which the box low..high stays within `cells`. Raises Unbounded."""
        least = float(np.prod((high - low) / self.cells ** (1 / 3))) ** (1 / 3)
        if least > COARSER * wanted:
            size = " x ".join(f"{1000 * e:.0f}" for e in high - low)
            cells = float(np.prod((high - low) / wanted))
            raise Unbounded(
                f"the box round all that the masks show is {size} mm: {cells:.3g} cells of {1000 * wanted:.2f} mm, more than "
                f"surface.max_cells={self.cells:,}",
                "look at the masks in the report: they show more than one object, or the poses are wrong; for an object that is truly so "
                "large raise surface.max_cells (80 bytes each) or surface.voxel_px",
            )
        return max(wanted, least)

    def refuse_large(self, vertices: np.ndarray, faces: np.ndarray, last_voxel: float) -> None:
        """Raises Unbounded when a mesh, or the last one that its area foretells, has too many vertices."""
        corner = vertices[faces]
        area = 0.5 * float(
            np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).sum()
        )
        expected = max(len(vertices), int(VERTICES_A_CELL * area / last_voxel**2))
        if expected > self.vertices:
            raise Unbounded(
                f"the surface would take {expected:,} vertices ({1e4 * area:.0f} cm2 at {1000 * last_voxel:.2f} mm), more than "
                f"surface.max_vertices={self.vertices:,}",
                "look at the masks in the report: a surface so large or so rough is not that of one object (bands of the background in the "
                "masks, masks that differ from frame to frame, wrong poses); for an object that is truly so large raise "
                "surface.max_vertices or surface.voxel_px",
            )


def refuse_unbounded_masks(views: Sequence[View]) -> None:
    """Raises Unbounded where most masks fill their pictures or are bounded by nothing but the picture's border."""
    shares = np.array([_border_and_fill(v) for v in views])
    for column, limit, words in ((1, FILLED, "fill their pictures"), (0, UNBOUNDED, "end only where the picture ends")):
        count = int((shares[:, column] > limit).sum())
        if 2 * count > len(views):
            raise Unbounded(
                f"the masks of {count} of {len(views)} frames {words}: nothing bounds the object",
                "give a box round the object, or masks that show the object alone; step back so that it fits into the picture",
            )


def _border_and_fill(view: View) -> tuple[float, float]:
    """(share of the mask's outline on the picture's border, share of the picture that the mask fills)."""
    inside = view.outline > 0
    u0, v0, u1, v1 = view.picture_box
    h, w = inside.shape
    at_border = (
        inside[0].sum() * (v0 > -1),
        inside[-1].sum() * (v1 < h),
        inside[:, 0].sum() * (u0 > -1),
        inside[:, -1].sum() * (u1 < w),
    )
    border = int(sum(at_border))
    inner = np.count_nonzero(inside[1:] != inside[:-1]) + np.count_nonzero(inside[:, 1:] != inside[:, :-1])
    return border / max(1, border + inner), float(inside.sum()) / max(1.0, (u1 - u0 + 1) * (v1 - v0 + 1))
