"""One stage alone on arrays: disparity of a rectified pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.errors import CaptureError


@dataclass(frozen=True)
class Disparity:
    """(H, W) float32 left disparity and its standard deviation, px; NaN in both where there is none."""

    disparity_px: np.ndarray
    sigma_px: np.ndarray


def disparity(left_rgb: np.ndarray, right_rgb: np.ndarray, threads: int = 0, **settings: Any) -> Disparity:
    """What the depth stage does with one pair: (H, W, 3) uint8 RGB, rows aligned. `settings`: of depth, as `method="sgm"`.

    Depth in metres: `rig.depth_from_disparity`. Raises CaptureError for arrays of the
    wrong shape, ConfigError for a method that cannot run.
    """
    from stages.depth.config import DepthConfig
    from stages.depth.methods import METHODS, choose

    for name, image in (("left_rgb", left_rgb), ("right_rgb", right_rgb)):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.shape != left_rgb.shape:
            raise CaptureError(
                f"{name} is {image.dtype} {image.shape}", "give two (H, W, 3) uint8 RGB pictures of one size"
            )
    config = DepthConfig(**settings)
    estimate = METHODS[choose(config.method)[0]].matcher(config, threads)(left_rgb, right_rgb)
    return Disparity(estimate.disparity_px, estimate.sigma_px)
