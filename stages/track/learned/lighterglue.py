"""LighterGlue, XFeat's learned matcher, by onnxruntime (track.matcher=lightglue with track.method=xfeat).

It expects key points (1, N, 2) normalised as LightGlue's: (px - size / 2) / (longer side / 2), with pixel centres at integers, and
descriptors (1, N, 64) of length 1; it gives pairs of indices with scores in 0..1, those above 0.1 already chosen inside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.track.learned.onnx_session import OnnxSession
from stages.track.learned.packing import unpacked
from stages.track.points.frame_points import FramePoints


class LighterGlue:
    """See PairMatcher. `width`, `height`: of the full rectified picture."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self._session = OnnxSession(path, ("kpts0", "kpts1", "desc0", "desc1"), ("matches", "scores"))
        self._size = np.array([width, height], np.float64)

    def __call__(self, a: FramePoints, b: FramePoints, from_a: np.ndarray, from_b: np.ndarray) -> np.ndarray:
        """See PairMatcher."""
        if min(len(from_a), len(from_b)) < 2:
            return np.zeros((0, 2), np.int64)

        def place(p, use):
            return ((p.uv[use] - self._size / 2) / (self._size.max() / 2)).astype(np.float32)[None]

        matches, _ = self._session(
            {
                "kpts0": place(a, from_a),
                "kpts1": place(b, from_b),
                "desc0": unpacked(a.descriptor[from_a])[None],
                "desc1": unpacked(b.descriptor[from_b])[None],
            }
        )
        return np.column_stack([from_a[matches[:, 0]], from_b[matches[:, 1]]])
