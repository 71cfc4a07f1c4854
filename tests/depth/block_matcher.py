"""A stereo network for tests: sum of absolute differences over blocks with a soft minimum, written as an ONNX graph. It really matches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.onnx_graph import Graph

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MODEL = {
    "inputs": ["left_image", "right_image"],
    "output": "disparity",
    "mean": list(MEAN),
    "std": list(STD),
    "multiple": 16,
    "best_width_px": 0,
    "gigabytes_per_megapixel": 0.1,
}
"""Its registry entry: fed with normalised pictures, as the published networks are."""


def write(
    path: Path,
    disparities: int,
    size: tuple[int | str, int | str] = ("h", "w"),
    block: int = 11,
    sharpness: float = 100.0,
) -> Path:
    """Disparities 0 .. disparities - 1; `size` (height, width) fixes an export to one size."""
    graph = Graph()
    costs = [_cost(graph, d, block) for d in range(disparities)]
    graph.add("Concat", costs, "volume", axis=1)
    graph.add("Mul", ["volume", graph.constant("sharpness", np.float32(-sharpness))], "scores")
    graph.add("Softmax", ["scores"], "share", axis=1)
    graph.add(
        "Mul",
        ["share", graph.constant("range", np.arange(disparities, dtype=np.float32).reshape(1, -1, 1, 1))],
        "parts",
    )
    graph.add("ReduceSum", ["parts", graph.constant("over", np.array([1], np.int64))], "disparity", keepdims=1)
    pictures = {name: (1, 3, *size) for name in MODEL["inputs"]}
    return graph.save(path, pictures, {"disparity": (1, 1, *size)})


def _cost(graph: Graph, d: int, block: int) -> str:
    """(1, 1, H, W): mean absolute difference to the right picture moved right by d; outside it its first column repeats."""
    moved = "right_image"
    if d:
        pads = graph.constant(f"pads{d}", np.array([0, 0, 0, d, 0, 0, 0, 0], np.int64))
        wide = graph.add("Pad", ["right_image", pads], f"wide{d}", mode="edge")
        cut = [graph.constant(f"{n}{d}", np.array([v], np.int64)) for n, v in (("from", 0), ("to", -d), ("axis", 3))]
        moved = graph.add("Slice", [wide, *cut], f"moved{d}")
    difference = graph.add("Sub", ["left_image", moved], f"difference{d}")
    size = graph.add("Abs", [difference], f"size{d}")
    grey = graph.add("ReduceMean", [size], f"grey{d}", axes=[1], keepdims=1)
    return graph.add(
        "AveragePool", [grey], f"cost{d}", kernel_shape=[block, block], pads=[block // 2] * 4, count_include_pad=0
    )
