"""What a user says of a frame beside the first prompt, as evidence that no other evidence outweighs."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from stages.masks.cut.expectation import Expectation
from stages.masks.frame.prompt import Prompt

CERTAIN = 50.0
"""log-likelihood ratio of what the user says"""
DISC_SHARE = 1 / 160
"""radius of a point's disc, as a share of the picture's width"""


def certain_llr(shape: tuple[int, int], hint: Prompt) -> np.ndarray:
    """(H, W) float32: CERTAIN on the object, -CERTAIN beside it, 0 where the hint says nothing."""
    if hint.mask is not None:
        return np.where(hint.mask, np.float32(CERTAIN), np.float32(-CERTAIN))
    out = np.zeros(shape, np.float32)
    if hint.box is not None:
        x0, y0, x1, y1 = (round(b) for b in hint.box)
        out[:] = -CERTAIN
        out[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = 0
    for x, y, kind in hint.points:
        cv2.circle(
            out, (round(x), round(y)), max(3, round(shape[1] * DISC_SHARE)), CERTAIN if kind == 1 else -CERTAIN, -1
        )
    return out


def hinted(expected: Expectation, hint: Prompt | None, shape: tuple[int, int]) -> Expectation:
    """The expectation with the user's word in it; the object is then in view, whatever was thought before."""
    if hint is None:
        return expected
    certain = certain_llr(shape, hint)
    if hint.mask is not None:
        return Expectation(
            certain, anchor=hint.mask, predicted=hint.mask, near_range=expected.near_range, surfaces=expected.surfaces
        )
    shown = any(kind == 1 for *_, kind in hint.points) or hint.box is not None
    return replace(
        expected,
        prior=certain if expected.prior is None else expected.prior + certain,
        lost="" if shown else expected.lost,
    )
