"""What a small network of our own makes of a frame's evidence: where the object is, seen as a whole.

The cues of a pixel (colour, depth, the background's picture) are weighed by hand and drift apart: a blank side that looks like the wall, a
shadow that moves with the object. Their picture as a whole says more, and this network was taught to read it from rendered captures whose
truth is known (`weights/mask_net.md`). It sees the window at a low resolution; the outline itself is cut as before.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from stages.masks.cut.evidence import WEAK_SIGMA_PX
from stages.masks.cut.outline import Window
from stages.masks.frame.working_frame import WorkingFrame

WEIGHTS = Path(__file__).resolve().parents[3] / "weights" / "mask_net.onnx"
SIZE = 160
"""pixels of the longer side that the network sees"""
CHANNELS = 8
REACH = 8.0
"""evidence beyond this is cut off"""
FARTHEST = 1.5
"""ranges of the object beyond which a disparity is cut off"""
WHOLE, DETAIL = 0.5, 0.8
"""how much counts what the network makes of the cues, and how much the cues by themselves: taught by drawn captures it may take a far part
of a dark thing for a shadow, where a background known for sure says otherwise"""
_own = threading.local()


@dataclass(frozen=True)
class Cues:
    """A window (h, w) of a frame, its upper left corner at `corner` (x, y). rgb uint8; disparity and sigma px (NaN = none) with the
    object's range px (None = not known); evidence as log-likelihood ratios: llr of all cues, proof the part that rests on depth or a known
    background, prior from the expected place."""

    rgb: np.ndarray
    disparity: np.ndarray
    sigma: np.ndarray
    near_range: tuple[float, float] | None
    llr: np.ndarray
    proof: np.ndarray
    prior: np.ndarray
    frame: int
    corner: tuple[int, int]

    @staticmethod
    def of(view: WorkingFrame, window: Window, near_range: tuple[float, float] | None, llr, proof, prior) -> Cues:
        """Those of a window of a frame, with the evidence (h, w) in it."""
        s = window.slices
        shown, at = (view.rgb[s], view.disparity[s], view.sigma[s]), (window.x0, window.y0)
        return Cues(*shown, near_range, llr, proof, prior, view.frame, at)


def channels(cues: Cues) -> np.ndarray:
    """(CHANNELS, SIZE, SIZE) float32, -1 to 1: colours, disparity within the object's range, its reliability, evidence and prior; zeros
    beyond the window."""
    size = shown_size(cues.llr.shape)

    def small(a):
        return cv2.resize(np.ascontiguousarray(a, np.float32), size, interpolation=cv2.INTER_AREA)

    out = np.zeros((CHANNELS, SIZE, SIZE), np.float32)
    out[7] = -1
    inside = out[:, : size[1], : size[0]]
    inside[:3] = small(cues.rgb).transpose(2, 0, 1) / 255 - 0.5
    if cues.near_range is not None:
        inside[3], inside[4] = _depth(cues, cues.near_range, small)
    for k, evidence in ((5, cues.llr), (6, cues.proof)):
        inside[k] = small(np.clip(evidence, -REACH, REACH)) / REACH
    inside[7] = small(np.clip(cues.prior, -3, 3)) / 3
    return out


def shown_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) of a window (h, w) as the network sees it."""
    scale = SIZE / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def opinion(cues: Cues) -> np.ndarray:
    """(h, w) float32: log odds for the object."""
    net = _network()
    net.setInput(channels(cues)[None])
    size, (h, w) = shown_size(cues.llr.shape), cues.llr.shape
    seen = net.forward()[0, 0, : size[1], : size[0]]
    return cv2.resize(np.ascontiguousarray(seen), (w, h), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Weighed:
    """llr (h, w) float32: the evidence with the network's opinion; opinion (h, w): its log odds, None where it was not asked."""

    llr: np.ndarray
    opinion: np.ndarray | None


def weighed(cues: Cues) -> Weighed:
    """The evidence as a whole; what the prior is certain of stays so. Without depth the cues speak for themselves: the network was
    taught with it."""
    if cues.near_range is None:
        return Weighed(cues.llr + cues.prior, None)
    seen = opinion(cues)
    prior = np.where(np.abs(cues.prior) > REACH, cues.prior, np.float32(DETAIL) * cues.prior)
    return Weighed(np.float32(WHOLE) * seen + np.float32(DETAIL) * cues.llr + prior, seen)


def expected_overlap(log_odds: np.ndarray | None, mask: np.ndarray) -> float:
    """Intersection over union (0-1) of `mask` (h, w) with the truth, as the network's log odds (h, w) would have it; NaN without them."""
    if log_odds is None or not mask.any():
        return float("nan")
    p = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
    both = float(p[mask].sum())
    return both / (float(p.sum()) + float(mask.sum()) - both)


def _depth(cues: Cues, near_range: tuple[float, float], small) -> tuple[np.ndarray, np.ndarray]:
    lo, hi = near_range
    known = np.isfinite(cues.disparity)
    disparity, sigma = np.where(known, cues.disparity, 0), np.where(known, cues.sigma, 1.0)
    weight = np.where(known, 1 / (1 + np.square(sigma / WEAK_SIGMA_PX)), 0).astype(np.float32)
    total = small(weight)
    place = (disparity - (lo + hi) / 2) / (FARTHEST * (hi - lo + 0.05 * hi))
    return small(weight * np.clip(place, -1, 1)) / np.maximum(total, 1e-3), total


def _network() -> cv2.dnn.Net:
    """One for each thread: a network holds its blobs."""
    if not hasattr(_own, "network"):
        _own.network = cv2.dnn.readNetFromONNX(np.frombuffer(_weights(), np.uint8))
    return _own.network


@cache
def _weights() -> bytes:
    return WEIGHTS.read_bytes()
