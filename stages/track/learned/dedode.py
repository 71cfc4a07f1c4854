"""DeDoDe features through kornia: detector L, descriptor B (track.method=dedode; Edstedt et al. 2024, "DeDoDe: Detect, Don't Describe").

kornia expects RGB, (1, 3, H, W) float32 in 0..1 and normalises by ImageNet's mean and deviation itself; height and width multiples of 14
(padding on the right and below). Key points come in -1..1 over the picture's outer edges, whole pixels: the centre of pixel i is
(2 i + 1) / size - 1. Descriptors are 256 long and not normalised. The detector suppresses no neighbours; that is done here.
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

CANDIDATES_PER_POINT = 4
"""points the detector gives for each that is wanted, before neighbours are suppressed"""
SUPPRESS_PX = 4
"""cell in which only the best point stays"""


class DedodeFeatures:
    """See FeatureMethod."""

    colour = True
    max_width_px = 1024
    """it was trained at 784"""
    gigabytes_per_megapixel = 2.6
    likeness = LIKENESS

    def __init__(self, network: torch.nn.Module, device: str = "cpu") -> None:
        self._network, self._device, self._one_at_a_time = network.eval(), device, threading.Lock()

    @classmethod
    def load(cls, detector: Path, descriptor: Path, device: str) -> DedodeFeatures:
        """From the two published state dicts as safetensors. Raises WeightsError."""
        network = new_network()

        def part(name):
            return lambda state: _load(getattr(network, name), state)

        filled(part("detector"), detector, device)
        filled(part("descriptor"), descriptor, device)
        return cls(network.to(device), device)

    def __call__(self, picture: np.ndarray, inside: np.ndarray, max_inside: int, max_outside: int) -> Keypoints:
        """See FeatureMethod; (H, W, 3) RGB."""
        import torch

        size = np.array(picture.shape[1::-1])
        with self._one_at_a_time, torch.inference_mode():
            image = as_tensor(picture, self._device)
            at, score = self._network.detect(image, n=CANDIDATES_PER_POINT * (max_inside + max_outside))
            uv, score = np.rint((at[0].cpu().numpy() + 1) * size / 2 - 0.5), score[0].float().cpu().numpy()
            best = best_of_each_cell(uv, score)

            def describe(keep: np.ndarray) -> np.ndarray:
                found = self._network.describe(image, at[:, torch.from_numpy(best[keep])])[0]
                return torch.nn.functional.normalize(found, dim=1).cpu().numpy()

            return keypoints(uv[best], score[best], describe, inside, max_inside, max_outside)


def new_network() -> torch.nn.Module:
    """Without weights, float32 on every device."""
    import torch
    from kornia.feature import DeDoDe

    return DeDoDe(detector_model="L", descriptor_model="B", amp_dtype=torch.float32)


def best_of_each_cell(uv: np.ndarray, score: np.ndarray, cell_px: int = SUPPRESS_PX) -> np.ndarray:
    """Indices of the strongest point of every cell of a grid."""
    cell = (uv // cell_px).astype(np.int64)
    order = np.argsort(-score, kind="stable")
    _, first = np.unique(cell[order] @ np.array([1, 1_000_003]), return_index=True)
    return np.sort(order[first])


def _load(network: torch.nn.Module, state: dict) -> torch.nn.Module:
    network.load_state_dict(state)
    return network
