"""LoFTR through kornia (track.method=loftr; Sun et al. 2021, "LoFTR: Detector-Free Local Feature Matching with Transformers").

kornia expects grey (1, 1, H, W) float32 in 0..1, best in multiples of 8; it gives correspondences in px whose origin is the corner of the
first pixel (centres at .5), on a grid of 8 px in the first picture and free in the second.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stages.track.learned.dense import Correspondences
from stages.track.learned.packing import as_tensor, filled

if TYPE_CHECKING:
    import torch

WIDTH_PX = 832
"""pictures are reduced to it: the size it was trained on, and memory grows with the fourth power"""


class Loftr:
    """See DenseCorrespondences."""

    def __init__(self, network: torch.nn.Module, device: str = "cpu", width_px: int = WIDTH_PX) -> None:
        self._network, self._device, self._width, self._one_at_a_time = (
            network.eval(),
            device,
            width_px,
            threading.Lock(),
        )

    @classmethod
    def load(cls, path: Path, device: str) -> Loftr:
        """From the published state dict as safetensors. Raises WeightsError."""
        return cls(filled(_network, path, device), device)

    def __call__(self, a: np.ndarray, b: np.ndarray) -> Correspondences:
        """See DenseCorrespondences."""
        import torch

        small = [self._reduced(p) for p in (a, b)]
        with self._one_at_a_time, torch.inference_mode():
            found = self._network(
                {"image0": as_tensor(small[0], self._device), "image1": as_tensor(small[1], self._device)}
            )
        uv = [
            found[f"keypoints{i}"].cpu().numpy().astype(np.float64) * (np.array(p.shape[1::-1]) / small[i].shape[1::-1])
            - 0.5
            for i, p in enumerate((a, b))
        ]
        return Correspondences(*uv, found["confidence"].float().cpu().numpy(), 8 * a.shape[1] / small[0].shape[1])

    def _reduced(self, picture: np.ndarray) -> np.ndarray:
        """Grey, reduced, cut to multiples of 8 by scaling."""
        height, width = picture.shape[:2]
        zoom = min(1.0, self._width / width)
        size = [max(8, round(length * zoom / 8) * 8) for length in (width, height)]
        return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)


def _network(state: dict) -> torch.nn.Module:
    """The authors' files say matcher.backbone where kornia says backbone."""
    from kornia.feature import LoFTR

    made = LoFTR(pretrained=None)
    made.load_state_dict({k.removeprefix("matcher."): v for k, v in state.items()})
    return made
