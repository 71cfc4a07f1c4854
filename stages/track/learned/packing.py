"""What the learned features share: pictures as tensors, descriptors as bytes, a state dict into a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from stages.core.errors import WeightsError
from stages.track.points.features import Keypoints, Likeness, choose

if TYPE_CHECKING:
    import torch

ONE, ZERO = 256, 128
"""stored length of a descriptor of length 1, and what 0 is stored as. Entries beyond +-0.5 are saturated (four standard deviations of 64
entries); rounding moves a distance by a hundredth."""
LIKENESS = Likeness(ratio=0.95, max_distance=0.9 * ONE, alike_ratio=0.9)
"""Learned descriptors spread less than SIFT's: a good match lies nearer to the second best."""
POINT_SCALE_PX = 2.5
"""blob scale given to points whose detector states none: that of the window they are aligned with at full size"""
Network = TypeVar("Network", bound="torch.nn.Module")


def packed(descriptor: np.ndarray) -> np.ndarray:
    """(N, D) float of length 1 -> (N, D) uint8."""
    return np.clip(np.rint(ZERO + ONE * descriptor), 0, 255).astype(np.uint8)


def unpacked(stored: np.ndarray) -> np.ndarray:
    """(N, D) uint8 -> (N, D) float32 of length 1."""
    x = stored.astype(np.float32) - ZERO
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)


def as_tensor(picture: np.ndarray, device: str) -> torch.Tensor:
    """(H, W, C) or (H, W) uint8 -> (1, C, H, W) float32 in 0..1."""
    import torch

    layers = picture if picture.ndim == 3 else picture[:, :, None]
    return torch.from_numpy(np.ascontiguousarray(layers.transpose(2, 0, 1)))[None].to(device).float() / 255


def keypoints(
    uv: np.ndarray,
    score: np.ndarray,
    describe: Callable[[np.ndarray], np.ndarray],
    inside: np.ndarray,
    max_inside: int,
    max_outside: int,
) -> Keypoints:
    """The strongest points, spread over the picture, with descriptors made only for them: `describe` (indices) -> (K, D) of length 1."""
    order = np.lexsort((uv[:, 0], uv[:, 1]))
    keep = order[choose(uv[order], score[order], inside, max_inside, max_outside)]
    return Keypoints(
        uv[keep].astype(np.float32), np.full(len(keep), POINT_SCALE_PX, np.float32), packed(describe(keep))
    )


def filled(make: Callable[[dict], Network], path: Path, device: str) -> Network:
    """The network that `make` builds from the state dict in a safetensors file, ready to run. Raises WeightsError."""
    from safetensors.torch import load_file

    try:
        return make(load_file(str(path))).to(device).eval()
    except (KeyError, RuntimeError) as e:
        raise WeightsError(
            f"{path.name} does not hold this network: {str(e).splitlines()[0][:200]}",
            "`twin weights list` shows the file that belongs there; `twin weights verify` checks it",
        ) from e
