"""RoMa through the authors' package `romatch` (track.method=roma; Edstedt et al. 2024, "RoMa: Robust Dense Feature Matching").

romatch imports torchvision (its VGG and its picture transforms), and asks for more libraries than this project needs, so it is an extra of
its own. It expects PIL pictures in RGB, which it resizes (coarse 560 x 560, fine 864 x 1152) and normalises itself; it gives for every
pixel of the fine picture the place in the other one, in -1..1 over the outer edges, and a certainty in 0..1.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.track.learned.dense import Correspondences
from stages.track.learned.packing import filled

if TYPE_CHECKING:
    import torch

FINE_SIZE = (864, 1152)
"""rows, columns; what the authors use"""
STEP = 6
"""one correspondence per so many pixels of the fine picture, both ways"""
LEAST_CERTAINTY = 0.3


class Roma:
    """See DenseCorrespondences. `network`: something whose match(PIL, PIL) gives (warp (1, H, W or 2 W, 4), certainty (1, H, W or 2 W))."""

    def __init__(self, network: Any) -> None:
        self._network, self._one_at_a_time = network, threading.Lock()

    @classmethod
    def load(cls, path: Path, backbone: Path, device: str) -> Roma:
        """From the published state dicts (RoMa's own, DINOv2's) as safetensors. Raises WeightsError."""
        from safetensors.torch import load_file

        return cls(filled(lambda state: _network(state, load_file(str(backbone)), device), path, device))

    def __call__(self, a: np.ndarray, b: np.ndarray) -> Correspondences:
        """See DenseCorrespondences."""
        from PIL import Image

        with self._one_at_a_time:
            warp, certainty = self._network.match(Image.fromarray(a), Image.fromarray(b))
        # the left half is a to b; the right half, where the network is symmetric, b to a
        rows, columns = (slice(STEP // 2, None, STEP), slice(STEP // 2, a_columns(warp), STEP))
        some, sure = (np.asarray(t[0].float().cpu())[rows, columns] for t in (warp, certainty))
        use = sure > LEAST_CERTAINTY
        uv = [
            (some[use][:, k : k + 2].astype(np.float64) + 1) * np.array(p.shape[1::-1]) / 2 - 0.5
            for k, p in ((0, a), (2, b))
        ]
        return Correspondences(*uv, sure[use], STEP * a.shape[1] / a_columns(warp))


def a_columns(warp: torch.Tensor) -> int:
    """Columns of the warp that belong to picture a: those before its own x falls back to the left edge."""
    x = warp[0, 0, :, 0]
    back = (x[1:] < x[:-1]).nonzero()
    return len(x) if len(back) == 0 else int(back[0, 0]) + 1


def _network(state: dict, backbone: dict, device: str) -> torch.nn.Module:
    import torch
    from romatch import roma_outdoor

    kind = torch.float32 if device == "cpu" else torch.float16
    return roma_outdoor(
        device=device,
        weights=state,
        dinov2_weights=backbone,
        coarse_res=560,
        upsample_res=FINE_SIZE,
        amp_dtype=kind,
        use_custom_corr=False,
    )
