"""The camera keeps still and the object moves: what is expected comes from the temporal background model and the frame before."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.masks.cut.evidence import prior_llr
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.frame_cut import FrameCut
from stages.masks.cut.outline import signed_distance
from stages.masks.cut.seed import Seed
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.scenes.background import Background, frame_gain

MOTION_SHARE = 0.3
"""from one frame to the next the outline moves by up to this share of the object's size (root of its area) without being doubted"""


@dataclass
class StillScene:
    """Expectations before a background model that is refined once, between the two passes."""

    seed: Seed
    background: Background
    description: str = "still camera, moving object"
    may_leap: bool = False

    def start(self, view: WorkingFrame, mask: np.ndarray) -> None:
        """Nothing to prepare."""

    def expect(self, view: WorkingFrame, previous: FrameCut | None, second_pass: bool = False) -> Expectation:
        """From the mask before (or, in the second pass, this frame's own first mask)."""
        mask = None if previous is None or not previous.mask.any() else previous.mask
        known = np.isfinite(self.background.rgb[..., 0])
        if mask is not None:
            known &= cv2.dilate(mask.astype(np.uint8), np.ones((31, 31), np.uint8)) == 0
        sparse = np.zeros_like(known)
        sparse[::3, ::3] = known[::3, ::3]
        gain = frame_gain(view.rgb, self.background.rgb, sparse)
        surfaces = [(self.background.disparity, 0.5)] if np.isfinite(self.background.disparity).any() else []
        common = {
            "surfaces": surfaces,
            "background": self.background.rgb,
            "background_sigma": self.background.sigma,
            "gain": gain,
        }
        common["background_shade"] = self.background.shade
        if mask is None:
            return Expectation(near_range=self._near(None), **common)
        size = float(np.sqrt(mask.sum()))
        reach = (0.08 if second_pass else MOTION_SHARE) * size + 6
        distance = signed_distance(mask)
        prior = np.minimum(prior_llr(distance + reach, reach, 0.0, 3.0 if second_pass else 2.0), 0)
        if second_pass:
            prior = prior + prior_llr(distance, 0.03 * size + 2, 1.0, 1.0)
        return Expectation(
            prior=prior,
            anchor=distance > -reach / 2,
            predicted=mask if second_pass else None,
            near_range=self._near(previous),
            **common,
        )

    def _near(self, previous: FrameCut | None) -> tuple[float, float] | None:
        base = self.seed.near_range if previous is None or previous.near_range is None else previous.near_range
        if base is None:
            return None
        span = max(base[1] - base[0], 0.1 * base[1])
        slack = 1.0 if previous is None else 0.4
        behind = np.nanmedian(self.background.disparity) if np.isfinite(self.background.disparity).any() else 0.0
        # the object does not sink into the background
        return max(base[0] - slack * span, min(float(behind) + 2, base[0])), base[1] + slack * span

    def learn(self, view: WorkingFrame, cut: FrameCut) -> None:
        """Nothing to keep from frame to frame."""
