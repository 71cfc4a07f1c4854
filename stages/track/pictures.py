"""Picture for the report: the matches of a pair of frames."""

from __future__ import annotations

import cv2
import numpy as np


def draw_matches(
    left_a: np.ndarray, left_b: np.ndarray, uv_a: np.ndarray, uv_b: np.ndarray, width: int = 1100, at_most: int = 150
) -> np.ndarray:
    """Two RGB pictures side by side with lines between matching points (M, 2) px."""
    scale = width / (2 * left_a.shape[1])
    small = [cv2.resize(p, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for p in (left_a, left_b)]
    canvas = np.concatenate(small, 1)
    chosen = np.linspace(0, len(uv_a) - 1, min(at_most, len(uv_a))).astype(int)
    for n, i in enumerate(chosen):
        colour = tuple(
            int(c)
            for c in cv2.cvtColor(np.uint8([[[int(180 * n / max(len(chosen), 1)), 220, 255]]]), cv2.COLOR_HSV2RGB)[0, 0]
        )
        p = tuple(np.rint(uv_a[i] * scale).astype(int).tolist())
        q = tuple(np.rint(uv_b[i] * scale + [small[0].shape[1], 0]).astype(int).tolist())
        cv2.line(canvas, p, q, colour, 1, cv2.LINE_AA)
        cv2.circle(canvas, p, 2, colour, -1, cv2.LINE_AA)
        cv2.circle(canvas, q, 2, colour, -1, cv2.LINE_AA)
    return canvas
