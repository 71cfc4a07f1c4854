"""Whether pictures come in an order that time can have: the next one looks more like a picture than most others do."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from stages.rectify.figures import FrameFigures

LEAST = 8
MOST = 400
"""frames compared at most: the first ones of longer captures"""
RANDOM = 0.36
"""mean place of the next picture among all others by likeness, 0 the most like, 1 the least; ordered captures have 0.01 to 0.3, shuffled
0.43 to 0.55 (eight captures, thinned too)"""


def next_place(rows: Sequence[FrameFigures]) -> float:
    """See `RANDOM`; NaN with too few frames."""
    seen = [r.thumb for r in rows if r.thumb.size][:MOST]
    if len(seen) < LEAST:
        return float("nan")
    looks = np.stack([cv2.GaussianBlur(t, (0, 0), 1.0).ravel() for t in seen])
    looks = (looks - looks.mean(0)) / np.maximum(looks.std(0).mean(), 1e-6)  # what never changes tells nothing
    away = np.linalg.norm(looks[:, None] - looks[None], axis=2)
    np.fill_diagonal(away, np.inf)
    place = (away[:-1] < np.diagonal(away, 1)[:, None]).sum(1)
    return float(place.mean() / (len(seen) - 2))


def order_words(rows: Sequence[FrameFigures]) -> list[str]:
    """A warning where the order looks like chance."""
    place = next_place(rows)
    if not place > RANDOM:
        return []
    return [
        f"the pictures do not look ordered: the next one is on average only the {place:.0%} most alike of all (ordered: below 30 %). "
        "Are their names in the order of time?"
    ]
