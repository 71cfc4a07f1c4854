"""A stereo network for tests: sum of absolute differences over blocks with a soft minimum, written as an ONNX graph. It really matches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MODEL = {"inputs": ["left_image", "right_image"], "output": "disparity", "mean": list(MEAN), "std": list(STD), "multiple": 16,
         "best_width_px": 0, "gigabytes_per_megapixel": 0.1}
"""Its registry entry: fed with normalised pictures, as the published networks are."""


def write(path: Path, disparities: int, size: tuple[int | str, int | str] = ("h", "w"), block: int = 11, sharpness: float = 100.0) -> Path:
    """Disparities 0 .. disparities - 1; `size` (height, width) fixes an export to one size."""
    graph = _Graph()
    costs = [graph.cost(d, block) for d in range(disparities)]
    graph.add("Concat", costs, "volume", axis=1)
    graph.add("Mul", ["volume", graph.constant("sharpness", np.float32(-sharpness))], "scores")
    graph.add("Softmax", ["scores"], "share", axis=1)
    graph.add("Mul", ["share", graph.constant("range", np.arange(disparities, dtype=np.float32).reshape(1, -1, 1, 1))], "parts")
    graph.add("ReduceSum", ["parts", graph.constant("over", np.array([1], np.int64))], "disparity", keepdims=1)
    pictures = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, *size)) for n in MODEL["inputs"]]
    out = helper.make_tensor_value_info("disparity", TensorProto.FLOAT, (1, 1, *size))
    made = helper.make_graph(graph.nodes, "block_matcher", pictures, [out], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


class _Graph:
    def __init__(self) -> None:
        self.nodes: list = []
        self.constants: list = []

    def add(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def cost(self, d: int, block: int) -> str:
        """(1, 1, H, W): mean absolute difference to the right picture moved right by d; outside it its first column repeats."""
        moved = "right_image"
        if d:
            pads = self.constant(f"pads{d}", np.array([0, 0, 0, d, 0, 0, 0, 0], np.int64))
            wide = self.add("Pad", ["right_image", pads], f"wide{d}", mode="edge")
            cut = [self.constant(f"{n}{d}", np.array([v], np.int64)) for n, v in (("from", 0), ("to", -d), ("axis", 3))]
            moved = self.add("Slice", [wide, *cut], f"moved{d}")
        difference = self.add("Sub", ["left_image", moved], f"difference{d}")
        size = self.add("Abs", [difference], f"size{d}")
        grey = self.add("ReduceMean", [size], f"grey{d}", axes=[1], keepdims=1)
        return self.add("AveragePool", [grey], f"cost{d}", kernel_shape=[block, block], pads=[block // 2] * 4, count_include_pad=0)
