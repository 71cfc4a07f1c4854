"""Do the frames' own surfaces stay where the adjusted poses put them? Asked where nothing but the object tells its motion.

Points that are few, or that lie on a wall the mask let in, fit one another and are wrong all the same. The whole surfaces of two frames,
aligned from the claimed motion, then drift away from it. On rendered captures right neighbours move by 0.1 to 0.8 mm, those that are 3 to
9 mm off by 1 to 7 mm. Frames are sound together when their surfaces stay; those apart from the largest such group have an uncertain pose.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.core.dense.alignment import align_surfaces
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import inverse, transform
from stages.core.groups import joined
from stages.core.parallel import ordered_map

STAYS_M, STAYS_SHARE = 0.0009, 0.005
"""surfaces stay when they move by less than the larger of this and of this share of the object's size"""
ASKED = 2
"""frames before each that it is asked against"""


def apart(views: Mapping[int, DenseView], object_from_left: Mapping[int, np.ndarray], size_m: float, workers: int) -> dict[int, str]:
    """{frame: why} of the frames whose surfaces do not stay on those of the largest group; `size_m`: the object's."""
    frames = sorted(object_from_left)
    pairs = [(a, b) for i, b in enumerate(frames) for a in frames[max(0, i - ASKED) : i]]
    moved = dict(zip(pairs, ordered_map(lambda p: _moved(views, object_from_left, *p), pairs, workers), strict=True))
    stays = max(STAYS_M, STAYS_SHARE * size_m)
    groups = joined(frames, [p for p, m in moved.items() if m is None or m <= stays])
    return {f: _reason(f, moved) for group in groups[1:] for f in group}


def _moved(views: Mapping[int, DenseView], object_from_left: Mapping[int, np.ndarray], a: int, b: int) -> float | None:
    """Metres by which the surface of a moves when it is aligned with that of b, or b's with a's, whichever is less; None = both cannot be
    aligned."""
    claimed = inverse(object_from_left[b]) @ object_from_left[a]
    there = _drift(views[a], views[b], claimed)
    back = _drift(views[b], views[a], inverse(claimed)) if there is None or there > STAYS_M else there
    found = [d for d in (there, back) if d is not None]
    return min(found) if found else None


def _drift(a: DenseView, b: DenseView, claimed: np.ndarray) -> float | None:
    aligned = align_surfaces(a, b, claimed, True)
    if aligned is None:
        return None
    x = a.surface(True)[1]
    return float(np.linalg.norm(transform(aligned.b_from_a, x) - transform(claimed, x), axis=1).mean())


def _reason(frame: int, moved: Mapping[tuple[int, int], float | None]) -> str:
    least = min((m for p, m in moved.items() if frame in p and m is not None), default=0.0)
    return f"its surface does not stay on that of the frames beside it: it would move by {1000 * least:.1f} mm or more"
