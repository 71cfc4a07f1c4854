"""What a stereo network as an ONNX file expects and gives: the `model` part of its entry in weights/registry.yaml.

Both pictures go in as float32 (1, 3, H, W), channels in the order `colour`, values (grey level 0..255 - mean) / std per channel, H and W
multiples of `multiple`. Out comes the disparity of the left picture, px of the size that went in, any shape that holds H x W values.
Pixel centres do not matter: disparity is a difference, and padding is on the right and below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.errors import WeightsError


@dataclass(frozen=True)
class Contract:
    """How to feed one network."""

    inputs: tuple[str, str]
    """names: left, right"""
    output: str
    sigma: str = ""
    """output that holds the standard deviation of the disparity, px; "" where the network predicts none"""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    colour: str = "rgb"
    """rgb or bgr"""
    multiple: int = 32
    best_width_px: int = 0
    """wider pictures are reduced to it first: networks lose accuracy beyond the sizes they were trained on; 0 = no limit"""
    max_disparity_px: int = 0
    """largest disparity it can find, px of its own picture: pairs with larger ones are reduced until they fit; 0 = no limit"""
    gigabytes_per_megapixel: float = 6.0
    """of working memory, for the estimate that `check` makes; on top of the file's own size"""


def contract(name: str, model: Mapping[str, Any]) -> Contract:
    """From the registry. Raises WeightsError that names what is wrong."""
    known = {f.name for f in dataclasses.fields(Contract)}
    if strange := set(model) - known:
        raise WeightsError(
            f"weights {name}: model has unknown keys {', '.join(sorted(strange))}", f"known: {', '.join(sorted(known))}"
        )
    if len(model.get("inputs", ())) != 2 or not model.get("output"):
        raise WeightsError(
            f"weights {name} are not a stereo network: their entry needs model.inputs (left, right) and model.output",
            "`twin weights list` shows which weights depth.method=onnx can use",
        )
    made = Contract(**{k: tuple(v) if isinstance(v, list) else v for k, v in model.items()})
    if (
        len(made.mean) != 3
        or len(made.std) != 3
        or min(made.std) <= 0
        or made.colour not in ("rgb", "bgr")
        or made.multiple < 1
    ):
        raise WeightsError(
            f"weights {name}: model needs three means, three stds above 0, colour rgb or bgr, multiple of at least 1",
            "correct registry.yaml",
        )
    return made
