"""DISK features through kornia (track.method=disk; Tyszkiewicz et al. 2020, "DISK: Learning local features with policy gradient").

kornia expects RGB, (1, 3, H, W) float32 in 0..1 without further normalisation, height and width multiples of 16 (zeros are added on the
right and below); key points are whole pixels with centres at integers, descriptors 128 long, length 1.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.track.learned.packing import LIKENESS, as_tensor, filled, keypoints
from stages.track.points.features import Keypoints

if TYPE_CHECKING:
    import torch


class DiskFeatures:
    """See FeatureMethod."""

    colour = True
    max_width_px = 1600
    gigabytes_per_megapixel = 2.3
    likeness = LIKENESS

    def __init__(self, network: torch.nn.Module, device: str = "cpu") -> None:
        self._network, self._device, self._one_at_a_time = network.eval(), device, threading.Lock()

    @classmethod
    def load(cls, path: Path, device: str) -> DiskFeatures:
        """From the published state dict as safetensors. Raises WeightsError."""
        return cls(filled(_network, path, device), device)

    def __call__(self, picture: np.ndarray, inside: np.ndarray, max_inside: int, max_outside: int) -> Keypoints:
        """See FeatureMethod; (H, W, 3) RGB."""
        import torch

        with self._one_at_a_time, torch.inference_mode():
            found = self._network(as_tensor(picture, self._device), pad_if_not_divisible=True)[0]
            uv, score = found.keypoints.float().cpu().numpy(), found.detection_scores.float().cpu().numpy()
            descriptor = found.descriptors.float().cpu().numpy()
        return keypoints(uv, score, lambda keep: descriptor[keep], inside, max_inside, max_outside)


def _network(state: dict) -> torch.nn.Module:
    from kornia.feature import DISK

    made = DISK()
    made.load_state_dict(state)
    return made
