"""How the points of two frames are matched without knowing their motion: the seam behind which learned matchers sit.

A matcher sees two frames' points and says which belong together. Sparse ones compare descriptors; LightGlue and its kind also the
places; dense ones (LoFTR, RoMa) look at the pictures and hand their correspondences to the key points (`learned/dense.py`). Whatever it
says is only a proposal: motions are estimated robustly, tracks are built from matches near known motions, and refined in the pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.track.links.descriptor_matching import match_mutual
from stages.track.points.frame_points import FramePoints

PairMatcher = Callable[[FramePoints, FramePoints, np.ndarray, np.ndarray], np.ndarray]
"""(frame a, frame b, indices of points of a, of b that may match) -> (M, 2) int64 indices of points of a and of b. Called from several
threads."""


class MutualNearest:
    """Mutually nearest descriptors that pass a ratio test."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

    def __call__(self, a: FramePoints, b: FramePoints, from_a: np.ndarray, from_b: np.ndarray) -> np.ndarray:
        """See PairMatcher."""
        matches = match_mutual(a.descriptor[from_a], b.descriptor[from_b], self.ratio)
        return np.column_stack([from_a[matches[:, 0]], from_b[matches[:, 1]]])
