"""What a stereo network needs before it starts: its file, a provider, and memory for one band of a picture."""

from __future__ import annotations

from dataclasses import replace

from stages.core.memory import Plan, choose_plan, free_gb
from stages.core.weights import entry, require
from stages.depth.config import DepthConfig
from stages.depth.onnx_contract import contract
from stages.depth.onnx_session import pick_provider

LEAST_BAND, LEAST_SIZE = 0.1, 0.2
"""megapixels that `memory: auto` does not go below: bands of 128 rows, and a picture in which the object is still seen"""


def fitting(config: DepthConfig) -> tuple[DepthConfig, str]:
    """Settings that fit into memory, and a warning ("" where they are those asked for). Raises WeightsError, StageError.

    `memory: auto` first makes the bands lower, which changes nothing but the rows where they meet, then the pictures smaller.
    """
    expects = contract(config.onnx_weights, entry(config.onnx_weights).model)
    file_gb = require(config.onnx_weights).path.stat().st_size / 1e9
    provider = pick_provider(config.onnx_provider)

    def needed(band, size):
        return 2 * file_gb + expects.gigabytes_per_megapixel * min(band, size)

    band, size = config.onnx_band_megapixels, config.onnx_megapixels
    plans = [Plan({}, needed(band, size))]
    while (band := min(band, size) / 2) >= LEAST_BAND:
        plans.append(Plan({"depth.onnx_band_megapixels": band}, needed(band, size)))
    lowest = plans[-1].changes
    while (size := size / 2) >= LEAST_SIZE:
        plans.append(Plan({**lowest, "depth.onnx_megapixels": size}, needed(LEAST_BAND, size)))
    advice = f"lower depth.onnx_band_megapixels (now {config.onnx_band_megapixels:g}), or use depth.method=sgm"
    plan, warning = choose_plan(
        "depth.method=onnx", plans, free_gb("cpu" if provider == "cpu" else "cuda"), config.memory, advice=advice
    )
    return replace(config, **{key.partition(".")[2]: value for key, value in plan.changes.items()}), warning
