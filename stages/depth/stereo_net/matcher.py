"""The project's stereo network as a matcher: both eyes' passes, what they confirm of each other, sigma as the network predicts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.depth.guess import Guess
from stages.depth.onnx_contract import Contract
from stages.depth.onnx_session import OnnxSession
from stages.depth.stereo import Estimate, guess_at, resized
from stages.depth.stereo_net.contract import SIZE_MULTIPLE, WEIGHTS_CONTRACT

_AGREE_PX, _AGREE_SIGMAS = 1.0, 2.0
"""Both passes may differ by this much: px of the network's picture, and standard deviations of the difference."""

Network = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(1, 3, H, W) float32 in 0..1 twice, H and W multiples of SIZE_MULTIPLE -> disparity and sigma of the first, px, (H, W) float32."""


def onnx_network(path: Path, provider: str, threads: int) -> Network:
    """The exported network, run by onnxruntime. Raises WeightsError, StageError."""
    expects = Contract(**WEIGHTS_CONTRACT)
    session = OnnxSession(path, expects, provider, threads)

    def run(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d, sigma = session.outputs((expects.output, expects.sigma), left, right)
        return d, sigma

    return run


def both_passes(network: Network, left: np.ndarray, right: np.ndarray) -> Guess:
    """(h, w, 3) float32 pictures in grey levels -> guess of the left. The mirrored, exchanged pair gives the right picture's disparity."""
    d_left, s_left = _run(network, left, right)
    d_right, s_right = (v[:, ::-1] for v in _run(network, right[:, ::-1], left[:, ::-1]))
    h, w = d_left.shape
    x = np.arange(w, dtype=np.float32)[None] - d_left
    y = np.repeat(np.arange(h, dtype=np.float32)[:, None], w, 1)
    found = cv2.remap(
        np.ascontiguousarray(np.dstack((d_right, s_right))), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    allowed = _AGREE_PX + _AGREE_SIGMAS * np.hypot(s_left, found[..., 1])
    return Guess(d_left, s_left, (x >= 0) & (np.abs(d_left - found[..., 0]) <= allowed))


@dataclass(frozen=True)
class NetworkStereo:
    """The network alone as a matcher of pictures of any size."""

    network: Network
    megapixels: float
    """larger pictures are reduced to it first"""
    max_sigma_px: float

    def __call__(self, left_rgb: np.ndarray, right_rgb: np.ndarray) -> Estimate:
        """(H, W, 3) uint8 rectified pair -> estimate at the same size; NaN where the right eye's pass disagrees or sigma is too large."""
        guess = guess_at(self.guess(left_rgb, right_rgb), left_rgb.shape[:2])
        known = guess.confirmed & (guess.sigma_px <= self.max_sigma_px) & (guess.disparity_px > 0.25)
        found = guess.disparity_px[known]
        nothing = np.float32(np.nan)
        return Estimate(
            np.where(known, guess.disparity_px, nothing),
            np.where(known, guess.sigma_px, nothing),
            (float(found.min()), float(found.max())) if found.size else (0.0, 0.0),
            float("nan"),
        )

    def guess(self, left_rgb: np.ndarray, right_rgb: np.ndarray) -> Guess:
        """At the network's size."""
        h, w = left_rgb.shape[:2]
        return both_passes(
            self.network, *resized(left_rgb, right_rgb, min(1.0, float(np.sqrt(self.megapixels * 1e6 / (h * w)))))
        )


def _run(network: Network, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges are repeated on the right and below up to the size that the network takes."""
    h, w = left.shape[:2]
    down, across = -h % SIZE_MULTIPLE, -w % SIZE_MULTIPLE
    padded = [
        cv2.copyMakeBorder(np.ascontiguousarray(i), 0, down, 0, across, cv2.BORDER_REPLICATE) for i in (left, right)
    ]
    d, sigma = network(*(np.ascontiguousarray(i.transpose(2, 0, 1)[None] / 255, np.float32) for i in padded))
    return d[:h, :w], sigma[:h, :w]
