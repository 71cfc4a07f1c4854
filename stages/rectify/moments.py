"""Whether the two pictures of a pair are of one moment: only then do rows fit.

A right recorder that counts from one pairs every left picture with the right one of the moment before. Where the scene moves, rows then
miss by amounts that scatter; one of the neighbouring pictures fits, and that is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.core.errors import CaptureError
from stages.rectify.geometry import Geometry
from stages.rectify.matches import match_pair
from stages.rectify.raw_pairs import PairReader, RawPair

NEAR_PX = 1.0
GOOD_SHARE = 0.5
"""share of the matches whose rows agree to `NEAR_PX`; pairs of one moment have 0.6 to 0.95"""
CLEARLY = 2.0
"""as many matches that fit must another pairing have, over the given one"""
LEAST = 40
SAMPLES = 4


def fitting(rows_px: np.ndarray) -> int:
    """How many row errors lie within `NEAR_PX` of where most do."""
    if len(rows_px) == 0:
        return 0
    v = np.sort(rows_px)
    return int((np.searchsorted(v, v + 2 * NEAR_PX) - np.arange(len(v))).max())


def offset_between_eyes(reader: PairReader, geometry: Geometry, frames: Sequence[int], rows_px: np.ndarray) -> int:
    """By how many frames the right view is ahead of its left partner: -1, 0 or 1.

    rows_px: row errors of the matches of the pairs as they are; only where those fit badly are neighbours tried, on a few `frames`.
    """
    if len(rows_px) and fitting(rows_px) > GOOD_SHARE * len(rows_px):
        return 0
    middle = [f for f in frames if f - 1 >= 0][:-1]
    chosen = {middle[i] for i in np.unique(np.linspace(0, len(middle) - 1, SAMPLES).round().astype(int))} if middle else set()
    wanted = {f + d for f in chosen for d in (-1, 0, 1)}
    there = {p.frame: p for p in reader.stream(wanted.__contains__)}
    counts = {d: sum(_fitting_pair(there.get(f), there.get(f + d), geometry) for f in sorted(chosen)) for d in (0, -1, 1)}
    best = max(counts, key=lambda d: counts[d])
    return best if counts[best] >= LEAST and counts[best] > CLEARLY * counts[0] else 0


def _fitting_pair(left: RawPair | None, right: RawPair | None, geometry: Geometry) -> int:
    if left is None or right is None or left.left is None or right.right is None:
        return 0
    try:
        uv = match_pair(left.left.pixels(), right.right.pixels())
    except CaptureError:                       # a broken picture is named by the survey
        return 0
    K = geometry.rig.K
    return fitting(geometry.right.points(uv[:, 2:4], K)[:, 1] - geometry.left.points(uv[:, :2], K)[:, 1]) if len(uv) else 0


def offset_words(offset: int) -> str:
    """For a warning or an error."""
    return f"each left picture fits the right one {'after' if offset > 0 else 'before'} its partner, not its partner"
