"""How many matches of a pair agree in their rows: the measure of whether two pictures belong together."""

from __future__ import annotations

import numpy as np

NEAR_PX = 1.0
LEAST_EACH = 10
"""matches of a pair, fewer say nothing of it"""


def fitting(rows_px: np.ndarray) -> int:
    """How many row errors lie within `NEAR_PX` of where most do."""
    if len(rows_px) == 0:
        return 0
    v = np.sort(rows_px)
    return int((np.searchsorted(v, v + 2 * NEAR_PX) - np.arange(len(v))).max())
