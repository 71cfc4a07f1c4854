"""Bilinear look-up of a list of points in a picture."""

from __future__ import annotations

import cv2
import numpy as np

_COLUMNS = 1024


def sample_at(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(h, w) or (h, w, C) float32 and points (n, 2) as (column, row) -> (n,) or (n, C); the edge is repeated outside."""
    rows = -(-len(at) // _COLUMNS)  # remap takes at most 32,767 columns: fold the list into rows
    folded = np.zeros((rows * _COLUMNS, 2), np.float32)
    folded[: len(at)] = at
    x, y = (np.ascontiguousarray(folded[:, k].reshape(rows, _COLUMNS)) for k in (0, 1))
    values = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(rows * _COLUMNS, *image.shape[2:])[: len(at)]
