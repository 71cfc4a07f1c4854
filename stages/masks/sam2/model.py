"""What the `model` part of a registry entry says of a SAM 2 or EdgeTAM file, and what it is at another size. No heavy imports."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from stages.core.errors import ConfigError, WeightsError
from stages.core.memory import Plan

FAMILIES = {"sam2": ("Sam2VideoModel", "Sam2VideoConfig"), "edgetam": ("EdgeTamVideoModel", "EdgeTamVideoConfig")}
"""Names of the classes of transformers; the session's is the model's with InferenceSession at its end."""
TRAINED_PX = 1024
"""Side of the square the published networks see."""
STRIDE = 16
"""Of the coarsest features, which the memory holds."""
SMALLER_PX = (896, 768, 640, 512)
"""Squares that `memory: auto` may fall back to; below half the trained one the network sees too little."""
FEATURES_GB = 1.2
"""At TRAINED_PX, in 32-bit numbers: 0.76 measured with sam2.1-tiny; the large one's features are half as wide again."""


def family_of(model: Mapping[str, Any], name: str) -> str:
    """ "sam2" or "edgetam". Raises WeightsError for an entry that is neither."""
    family = model.get("family", "sam2")
    if family not in FAMILIES or "vision_config" not in model:
        raise WeightsError(
            f"weights {name} are no video segmentation network: their entry needs model.vision_config"
            f"{'' if family in FAMILIES else f', and family is {family!r}'}",
            "`twin weights list` shows which weights masks.method=sam2 can use",
        )
    return family


def resized_model(model: Mapping[str, Any], size_px: int) -> dict[str, Any]:
    """The configuration for a square of `size_px` (0 = as trained): positions are interpolated, weights stay. Raises ConfigError."""
    out = {k: copy.deepcopy(v) for k, v in model.items() if k != "family"}
    if size_px in (0, trained_size(model)):
        return out
    if size_px % 64:
        raise ConfigError(f"masks.sam2_size_px is {size_px}", "give a multiple of 64, such as 512 or 768")
    features = size_px // STRIDE
    out |= {
        "image_size": size_px,
        "memory_attention_rope_feat_sizes": [features, features],
        "prompt_encoder_config": {**out.get("prompt_encoder_config", {}), "image_size": size_px},
    }
    vision = out["vision_config"]
    vision["backbone_feature_sizes"] = [[features * k, features * k] for k in (4, 2, 1)]
    if vision.get("model_type") == "sam2_vision_model":
        vision["backbone_config"] = {**vision.get("backbone_config", {}), "image_size": [size_px, size_px]}
    return out


def trained_size(model: Mapping[str, Any]) -> int:
    """px; side of the square that the weights were trained for."""
    return int(model.get("image_size", TRAINED_PX))


def memory_plans(file_bytes: int, size_px: int, half: bool) -> list[Plan]:
    """What following one object needs at `size_px` and at the smaller squares that `memory: auto` may take; `half`: in 16-bit numbers."""
    sizes = [size_px, *(s for s in SMALLER_PX if s < size_px)]
    return [Plan({"masks.sam2_size_px": s} if s < size_px else {}, memory_gb(file_bytes, s, half)) for s in sizes]


def memory_gb(file_bytes: int, size_px: int, half: bool = False) -> float:
    """Rough working memory: the weights (read, then held), and features of the square in the network and in its memory of the video.

    Half of it in 16-bit numbers.
    """
    whole = 2 * file_bytes / 1e9 + FEATURES_GB * (size_px / TRAINED_PX) ** 2
    return whole / 2 if half else whole
