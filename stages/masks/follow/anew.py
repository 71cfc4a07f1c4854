"""The object found anywhere in the picture again, where what was followed has shrunk to a remnant of it.

A hand has put it down elsewhere, or with other sides up, and flow held on to what it knew.
"""

from __future__ import annotations

import numpy as np

from stages.masks.cut.colour_model import ColourModel, likeness
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.frame_cut import FrameCut, cut_frame
from stages.masks.cut.outline import CutSettings
from stages.masks.cut.planes import as_surfaces, fit_planes
from stages.masks.cut.seed import Seed
from stages.masks.frame.working_frame import WorkingFrame

SHRUNK = 0.4
"""share of the first mask's size, at the same distance, below which a mask is taken for a remnant"""
SAME_SIZE = (0.5, 2.0)
"""the same of what may be the object: another side of it may be as much smaller or larger"""
SAME_COLOURS = 0.7
"""Bhattacharyya coefficient of its colours and the object's, from which it may be"""
PLANES, LEAST_SHARE = 3, 0.1
"""asked for, and the share of what is left that one must explain"""
LEAST_DEPTH = 1000
"""pixels with depth before planes are asked for"""


def shrunk(seed: Seed, found: FrameCut) -> bool:
    """Whether hardly any of the object is left in a mask."""
    return _share(seed, found) < SHRUNK


def found_anew(
    view: WorkingFrame, seed: Seed, colours: ColourModel, of_object: np.ndarray, cut: CutSettings
) -> FrameCut | None:
    """What stands off the planes of this frame's own depth in the object's colours, if it has its size and colours; None where nothing has.
    `of_object`: counts of its colours."""
    if seed.near_range is None:
        return None
    expected = Expectation(near_range=_reach(seed.near_range), surfaces=_planes(view))
    found = cut_frame(view, expected, colours, cut, fine=True)
    if not found.mask.any() or not SAME_SIZE[0] < _share(seed, found) < SAME_SIZE[1]:
        return None
    return found if likeness(view.rgb, found.mask, of_object) > SAME_COLOURS else None


def _share(seed: Seed, found: FrameCut) -> float:
    """A mask's size against the first one's, both as at the same distance as far as their depths are known."""
    share = float(found.mask.sum()) / max(float(seed.mask.sum()), 1.0)
    if seed.near_range is None or found.near_range is None:
        return share
    return share * (float(np.mean(seed.near_range)) / max(float(np.mean(found.near_range)), 1e-6)) ** 2


def _reach(near_range: tuple[float, float]) -> tuple[float, float]:
    """Where the object may be after it was moved about, in disparity."""
    return near_range[0] / 1.4, near_range[1] * 1.4


def _planes(view: WorkingFrame) -> list[tuple[np.ndarray, float]]:
    v, u = np.nonzero(np.isfinite(view.disparity))
    if len(u) < LEAST_DEPTH:
        return []
    disparity, sigma = view.disparity[v, u], view.sigma[v, u]
    found = fit_planes(u, v, disparity, sigma, rng=np.random.default_rng(view.frame), count=PLANES)
    return as_surfaces([p for p in found if p.share > LEAST_SHARE], view.shape)
