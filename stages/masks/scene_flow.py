"""Nothing is known of the scene (no depth, or all of it moves): the mask before, carried along by optical flow, is what is expected."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.masks.evidence import prior_llr
from stages.masks.expectation import Expectation
from stages.masks.frame_cut import FrameCut
from stages.masks.outline import signed_distance
from stages.masks.seed import Seed
from stages.masks.working_frame import WorkingFrame

FLOW_WIDTH = 640
"""px; flow is computed at this width at most"""


@dataclass
class FlowScene:
    """Expectations from the last frame that had a mask."""

    seed: Seed
    description: str = "no usable depth or scene motion: colour and optical flow"
    _gray: np.ndarray | None = None
    _mask: np.ndarray | None = None

    def start(self, view: WorkingFrame, mask: np.ndarray) -> None:
        """(Re)start from a frame whose mask is known."""
        self._gray, self._mask = _gray(view), mask

    def expect(self, view: WorkingFrame, previous: FrameCut | None, second_pass: bool = False) -> Expectation:
        """The last mask warped into this frame; without one (lost): no prior."""
        near_range = _widened(self.seed.near_range if previous is None or previous.near_range is None else previous.near_range)
        if self._mask is None or previous is None or not previous.mask.any():
            return Expectation(near_range=near_range)
        predicted = warp_mask(self._mask, self._gray, _gray(view)) > 0.5
        if predicted.sum() < 30:
            return Expectation(near_range=near_range)
        distance = signed_distance(predicted)
        sigma = 0.04 * float(np.sqrt(predicted.sum())) + 2
        return Expectation(prior=prior_llr(distance, sigma, 2.5, 4.0), anchor=distance > 0, predicted=predicted, near_range=near_range)

    def learn(self, view: WorkingFrame, cut: FrameCut) -> None:
        """Remember the frame for the next one."""
        if cut.mask.any():
            self.start(view, cut.mask)


def _widened(near_range: tuple[float, float] | None) -> tuple[float, float] | None:
    if near_range is None:
        return None
    slack = 0.25 * max(near_range[1] - near_range[0], 0.1 * near_range[1])
    return near_range[0] - slack, near_range[1] + slack


def _gray(view: WorkingFrame) -> np.ndarray:
    gray = cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, FLOW_WIDTH / gray.shape[1])
    return cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray


def warp_mask(mask: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(H, W) float32 soft mask of `now`, sampled along the flow now -> before (dense inverse search, Kroeger et al. 2016)."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(now, before, None)
    h, w = mask.shape
    scale = w / now.shape[1]
    flow = cv2.resize(flow, (w, h), interpolation=cv2.INTER_LINEAR) * np.float32(scale)
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return cv2.remap(mask.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
