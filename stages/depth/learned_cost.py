"""Matching cost from learned features: MC-CNN-fast (Zbontar and LeCun, JMLR 2016) in place of the census.

Five 3x3 convolutions give every pixel 64 numbers that see an 11x11 patch; two pixels look alike by the cosine of the angle between theirs.
The cosine becomes a cost in the census's own range, so that semi-global matching keeps its penalties. The only file of this method that
imports torch. Expects: luminance as (1, 1, H, W), mean 0 and standard deviation 1 over the picture; pixel centres stay where they are.
"""

from __future__ import annotations

from pathlib import Path

import numba as nb
import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional

from stages.core.errors import WeightsError
from stages.depth.census import BORDER_COST
from stages.depth.seed import Level

LAYERS = tuple(f"conv_blocks.{2 * k}" for k in range(5))
"""Names of the convolutions in the file; what lies between is a rectifier without parameters."""
COST_PER_COSINE = 30.0
"""Cost of cosine 0 over that of cosine 1, which is 0; see docs/methods/depth.md for how it was chosen."""
HIGHEST = 60
"""Cost of anything unlike: the census's highest."""
_ROWS, _COLUMNS = 16, 128
"""Size of the blocks that similarities are computed in, so that no table of all pairs of a row is held."""


class LearnedCost:
    """Cost volumes by the features of one file. Deterministic; called from several threads."""

    def __init__(self, path: Path) -> None:
        found = load_file(str(path))
        wanted = [f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")]
        if missing := [name for name in wanted if name not in found]:
            raise WeightsError(
                f"{path.name} is not MC-CNN-fast: it lacks {missing[0]}", "`twin weights verify mc-cnn-fast`"
            )
        self._layers = [(found[f"{layer}.weight"].float(), found[f"{layer}.bias"].float()) for layer in LAYERS]

    def __call__(self, level: Level, first: int, count: int) -> np.ndarray:
        """(H, W, count) uint8 cost of disparities first .. first + count - 1."""
        return cosine_volume(self.features(level.left), self.features(level.right), first, count)

    def features(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) -> (H, W, 64) float32 of length 1."""
        x = torch.from_numpy((picture - picture.mean()) / max(float(picture.std()), 1e-3))[None, None].float()
        with torch.inference_mode():
            # the border repeats, because a row of zeros would look like a dark frame to pixels up to 5 px inside
            x = functional.pad(x, (5, 5, 5, 5), mode="replicate")
            for k, (weight, bias) in enumerate(self._layers):
                x = functional.conv2d(x, weight, bias)
                x = functional.relu_(x) if k < len(self._layers) - 1 else x
            return functional.normalize(x, dim=1)[0].permute(1, 2, 0).contiguous().numpy()


def cosine_volume(
    left: np.ndarray, right: np.ndarray, first: int, count: int, per_cosine: float = COST_PER_COSINE
) -> np.ndarray:
    """(H, W, C) features of length 1 -> (H, W, count) uint8; outside the right picture the census's BORDER_COST."""
    h, w = left.shape[:2]
    out = np.full((h, w, count), np.uint8(BORDER_COST), np.uint8)
    for x0 in range(max(first, 0), w, _COLUMNS):
        x1 = min(x0 + _COLUMNS, w)
        low = max(0, x0 - first - count + 1)
        for y0 in range(0, h, _ROWS):
            rows = slice(y0, min(y0 + _ROWS, h))
            alike = left[rows, x0:x1] @ right[rows, low : x1 - first].transpose(0, 2, 1)
            _take(alike, out[rows, x0:x1], x0 - first - low, np.float32(per_cosine))
    return out


@nb.njit(nogil=True, cache=True)
def _take(alike, out, reach, per_cosine):
    """Cosines (rows, columns, candidates) -> costs, disparity growing to the left from candidate `reach` + column."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for k in range(min(out.shape[2], reach + x + 1)):
                cost = per_cosine * (np.float32(1) - alike[y, x, reach + x - k])
                out[y, x, k] = np.uint8(min(max(cost, np.float32(0)), np.float32(HIGHEST)))
