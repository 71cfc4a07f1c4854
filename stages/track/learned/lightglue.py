"""LightGlue through kornia (track.matcher=lightglue; Lindenberger et al. 2023, "LightGlue: Local Feature Matching at Light Speed").

kornia expects key points (1, N, 2) in px with the picture's (width, height), which it normalises itself, and descriptors (1, N, D) of
length 1. The network's shape is read from its state dict, so one adapter serves ALIKED, DISK and others.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.track.learned.packing import filled, unpacked
from stages.track.points.frame_points import FramePoints

if TYPE_CHECKING:
    import torch

LEAST_POINTS = 8
"""fewer cannot make a motion, and attention over none fails"""


class LightGlueMatcher:
    """See PairMatcher. `width`, `height`: of the full rectified picture."""

    def __init__(self, network: torch.nn.Module, device: str, width: int, height: int) -> None:
        self._network, self._device, self._size, self._one_at_a_time = (
            network.eval(),
            device,
            (width, height),
            threading.Lock(),
        )

    @classmethod
    def load(cls, path: Path, device: str, width: int, height: int) -> LightGlueMatcher:
        """From a published state dict as safetensors. Raises WeightsError."""
        return cls(filled(_network, path, device), device, width, height)

    def __call__(self, a: FramePoints, b: FramePoints, from_a: np.ndarray, from_b: np.ndarray) -> np.ndarray:
        """See PairMatcher."""
        import torch

        if min(len(from_a), len(from_b)) < LEAST_POINTS:
            return np.zeros((0, 2), np.int64)
        with self._one_at_a_time, torch.inference_mode():
            found = (
                self._network({"image0": self._given(a, from_a), "image1": self._given(b, from_b)})["matches"][0]
                .cpu()
                .numpy()
            )
        return np.column_stack([from_a[found[:, 0]], from_b[found[:, 1]]])

    def _given(self, points: FramePoints, use: np.ndarray) -> dict[str, torch.Tensor]:
        import torch

        uv = np.clip(points.uv[use], 0, self._size).astype(np.float32)

        def tensor(x):
            return torch.from_numpy(x)[None].to(self._device)

        return {
            "keypoints": tensor(uv),
            "descriptors": tensor(unpacked(points.descriptor[use])),
            "image_size": torch.tensor([self._size], device=self._device),
        }


def _network(state: dict) -> torch.nn.Module:
    """Built to the shape of the state dict; the release of 2023 names its layers self_attn.0 instead of transformers.0.self_attn."""
    from kornia.feature import LightGlue

    state = {re.sub(r"^(self_attn|cross_attn)\.(\d+)\.", r"transformers.\2.\1.", k): v for k, v in state.items()}
    state.pop("confidence_thresholds", None)
    width = state["log_assignment.0.final_proj.weight"].shape[0]
    made = LightGlue(
        None,
        input_dim=state["input_proj.weight"].shape[1] if "input_proj.weight" in state else width,
        descriptor_dim=width,
        n_layers=1 + max(int(k.split(".")[1]) for k in state if k.startswith("log_assignment.")),
        num_heads=width // (2 * state["posenc.Wr.weight"].shape[0]),
    )
    made.load_state_dict({"confidence_thresholds": made.confidence_thresholds, **state})
    return made
