"""Builds small ONNX networks that really run, node by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes and constants by name."""

    def __init__(self) -> None:
        self._nodes: list = []
        self._constants: list = []

    def add(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        """A node with one output; the output's name."""
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value) -> str:
        """An array; its name."""
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def save(
        self, path: Path, inputs: dict[str, tuple], outputs: dict[str, tuple], whole: tuple[str, ...] = ()
    ) -> Path:
        """Written and checked; shapes of inputs and outputs by name, all float32 but the outputs in `whole`, int64."""

        def value(name, shape):
            return helper.make_tensor_value_info(name, TensorProto.INT64 if name in whole else TensorProto.FLOAT, shape)

        made = helper.make_graph(
            self._nodes,
            "made_for_a_test",
            [value(*i) for i in inputs.items()],
            [value(*o) for o in outputs.items()],
            self._constants,
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path
