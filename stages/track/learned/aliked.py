"""ALIKED features (track.method=aliked).

The network expects RGB, (1, 3, H, W) float32 in 0..1 without further normalisation; it pads to multiples of 32 by itself; key points come
in px with pixel centres at integers, sub-pixel; descriptors are 128 long, length 1.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.track.learned.packing import LIKENESS, as_tensor, filled, keypoints
from stages.track.points.features import Keypoints

if TYPE_CHECKING:
    from stages.track.learned.aliked_network import Aliked

LEAST_SCORE = 0.05
"""a point's score (0..1) below which it is not taken. The authors use 0.2; here a dull object's weak points are wanted too, and the
strongest of each cell win."""


class AlikedFeatures:
    """See FeatureMethod."""

    colour = True
    max_width_px = 1600
    gigabytes_per_megapixel = 0.6
    likeness = LIKENESS

    def __init__(self, network: Aliked, device: str = "cpu") -> None:
        self._network, self._device, self._one_at_a_time = network, device, threading.Lock()

    @classmethod
    def load(cls, path: Path, device: str) -> AlikedFeatures:
        """From the published state dict as safetensors. Raises WeightsError."""
        from stages.track.learned.aliked_network import Aliked

        return cls(filled(Aliked.from_state, path, device), device)

    def __call__(self, picture: np.ndarray, inside: np.ndarray, max_inside: int, max_outside: int) -> Keypoints:
        """See FeatureMethod; (H, W, 3) RGB."""
        import torch

        from stages.track.learned.aliked_network import detect

        with self._one_at_a_time, torch.inference_mode():
            score, features = self._network(as_tensor(picture, self._device))
            uv, strength = detect(score, LEAST_SCORE)

            def describe(keep):
                return self._network.desc_head(features, uv[torch.from_numpy(keep)]).cpu().numpy()

            return keypoints(uv.cpu().numpy(), strength.cpu().numpy(), describe, inside, max_inside, max_outside)
