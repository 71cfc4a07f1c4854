"""What is known of a frame before looking at its pixels, in the form every kind of capture can give."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.masks.cut.evidence import SHADOW_LOG_SIGMA


@dataclass(frozen=True)
class Expectation:
    """Everything at the working size.

    prior (H, W): log-likelihood ratio from the predicted outline; anchor (H, W) bool: the object must touch it (None = anywhere);
    predicted (H, W) bool or None: the outline itself, for the trust; near_range: disparities of the object, px; surfaces: background
    disparities as `depth_llr` takes them; background (H, W, 3) float32 RGB with NaN = unknown and its sigma (H, W), background_shade:
    how much shadows scatter its brightness, as a share; gain (3,) divides the frame's colours into the background's exposure; seen
    (H, W, 3) float32: the frame's colours in that exposure, less noisy (the background's sigma is then against these), None = as they are;
    intruder: colour counts of what reaches into this frame as near as the object, such as an arm (None = nothing does);
    lost: why the object cannot be in view ("" = it may be); doubt: why the mask will need a look whatever comes out ("" = it need not).
    """

    prior: np.ndarray | None = None
    anchor: np.ndarray | None = None
    predicted: np.ndarray | None = None
    near_range: tuple[float, float] | None = None
    surfaces: list[tuple[np.ndarray, float]] = field(default_factory=list)
    background: np.ndarray | None = None
    background_sigma: np.ndarray | None = None
    background_shade: float = SHADOW_LOG_SIGMA
    seen: np.ndarray | None = None
    gain: np.ndarray | None = None
    intruder: np.ndarray | None = None
    lost: str = ""
    doubt: str = ""
