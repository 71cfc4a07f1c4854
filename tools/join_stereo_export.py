"""Makes one ONNX file that `depth.method=onnx` can run out of the two that Fast-FoundationStereo's own scripts/make_onnx.py writes.

    python -m tools.join_stereo_export FOLDER [--out fast_foundationstereo_23-36-37.onnx]

FOLDER holds feature_runner.onnx, post_runner.onnx and onnx.yaml. Between the two their program computes a group-wise correlation (Guo et
al., GwcNet, CVPR 2019) in a GPU kernel of its own; here it becomes plain ONNX operators. The weights' licence stays: research only.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper, version_converter

from stages.core.plain_yaml import load_yaml

LEFT, RIGHT, VOLUME = "features_left_04", "features_right_04", "gwc_volume"
"""Names in the two files: features at a quarter of the size, and the volume that the second file asks for."""
QUARTER = 4
IR_VERSION = 9
"""Of the file format: what every onnxruntime since 2023 reads; nothing here needs a newer one."""
CHANNELS = np.array([2], np.int64)
"""Axis of a group's channels."""


@dataclass(frozen=True)
class Correlation:
    """Groups of channels, disparities at a quarter of the size, and whether each group's features are brought to length 1 first."""

    groups: int
    disparities: int
    normalised: bool


def read_settings(path: Path) -> Correlation:
    """From onnx.yaml, as make_onnx.py writes it."""
    values = load_yaml(path.read_text(), str(path))
    return Correlation(
        int(values.get("cv_group", 8)), int(values["max_disp"]) // QUARTER, bool(values.get("normalize", True))
    )


def correlation(kind: Correlation, left: onnx.ValueInfoProto, right: onnx.ValueInfoProto, opset: int) -> ModelProto:
    """Model from features (1, C, h, w) of both eyes to the volume (1, groups, disparities, h, w); 0 where the right eye has nothing."""
    shape = [d.dim_value for d in left.type.tensor_type.shape.dim]
    if len(shape) != 4 or shape[1] % kind.groups:
        raise SystemExit(
            f"{LEFT} has the shape {shape}, which {kind.groups} groups do not divide: is onnx.yaml of the same export?"
        )
    graph = _Nodes(
        [
            numpy_helper.from_array(
                np.array([shape[0], kind.groups, shape[1] // kind.groups, *shape[2:]], np.int64), "grouped"
            )
        ]
    )
    for side in (LEFT, RIGHT):
        graph.add("Reshape", [side, "grouped"], f"{side}_grouped")
        if kind.normalised:
            graph.add("Mul", [f"{side}_grouped", f"{side}_grouped"], f"{side}_squares")
            graph.add("ReduceSum", [f"{side}_squares", graph.constant("channels", CHANNELS)], f"{side}_sum", keepdims=1)
            graph.add("Sqrt", [f"{side}_sum"], f"{side}_length")
            graph.add("Max", [f"{side}_length", graph.constant("least", np.float32(1e-12))], f"{side}_divisor")
            graph.add("Div", [f"{side}_grouped", f"{side}_divisor"], f"{side}_ready")
        else:
            graph.add("Identity", [f"{side}_grouped"], f"{side}_ready")
    slices = [graph.slice_at(d) for d in range(kind.disparities)]
    graph.add("Concat", slices, VOLUME, axis=2)
    out = helper.make_tensor_value_info(
        VOLUME, TensorProto.FLOAT, [shape[0], kind.groups, kind.disparities, *shape[2:]]
    )
    made = helper.make_graph(graph.nodes, "group_wise_correlation", [left, right], [out], graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


class _Nodes:
    def __init__(self, constants: list[TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = constants

    def add(self, operator: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        if name not in {c.name for c in self.constants}:
            self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def slice_at(self, d: int) -> str:
        """(1, groups, 1, h, w): the left features times the right ones moved right by d."""
        moved = f"{RIGHT}_ready"
        if d:
            pads = self.constant(f"pads{d}", np.array([0, 0, 0, 0, d, 0, 0, 0, 0, 0], np.int64))
            wide = self.add("Pad", [f"{RIGHT}_ready", pads], f"wide{d}")
            cut = [
                self.constant("start", np.array([0], np.int64)),
                self.constant(f"end{d}", np.array([-d], np.int64)),
                self.constant("axis", np.array([4], np.int64)),
            ]
            moved = self.add("Slice", [wide, *cut], f"moved{d}")
        product = self.add("Mul", [f"{LEFT}_ready", moved], f"product{d}")
        return self.add("ReduceSum", [product, self.constant("channels", CHANNELS)], f"slice{d}", keepdims=1)


def joined(features: ModelProto, post: ModelProto, kind: Correlation) -> ModelProto:
    """One model with the first one's inputs and the second one's outputs."""
    opset = max(o.version for m in (features, post) for o in m.opset_import if o.domain == "")
    features, post = (
        version_converter.convert_version(m, opset) if _opset(m) != opset else m for m in (features, post)
    )
    outputs = {o.name: o for o in features.graph.output}
    asked = {i.name for i in post.graph.input}
    if missing := ({LEFT, RIGHT, VOLUME} | asked) - {*outputs, VOLUME} or {VOLUME} - asked:
        raise SystemExit(f"these files do not fit together: {', '.join(sorted(missing))} is missing")
    middle = correlation(kind, outputs[LEFT], outputs[RIGHT], opset)
    for model in (features, middle, post):
        model.ir_version = IR_VERSION
    parts = [compose.add_prefix(m, p) for m, p in ((features, "f/"), (middle, "c/"), (post, "p/"))]
    first = compose.merge_models(
        parts[0],
        parts[1],
        io_map=[(f"f/{n}", f"c/{n}") for n in (LEFT, RIGHT)],
        outputs=[*(f"f/{n}" for n in outputs), f"c/{VOLUME}"],
    )
    io = [(f"f/{n}", f"p/{n}") for n in asked & set(outputs)] + [(f"c/{VOLUME}", f"p/{VOLUME}")]
    whole = compose.merge_models(first, parts[2], io_map=io, outputs=[f"p/{o.name}" for o in post.graph.output])
    return _plain_ends(whole)


def _opset(model: ModelProto) -> int:
    return next(o.version for o in model.opset_import if o.domain == "")


def _plain_ends(model: ModelProto) -> ModelProto:
    """Inputs and outputs without the prefixes that keep the parts' names apart."""
    ends = {v.name: v.name.partition("/")[2] for v in (*model.graph.input, *model.graph.output)}
    for value in (*model.graph.input, *model.graph.output):
        value.name = ends[value.name]
    for node in model.graph.node:
        node.input[:] = [ends.get(n, n) for n in node.input]
        node.output[:] = [ends.get(n, n) for n in node.output]
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Read, join, write, and say what comes next."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("fast_foundationstereo_23-36-37.onnx"))
    args = parser.parse_args()
    for name in ("feature_runner.onnx", "post_runner.onnx", "onnx.yaml"):
        if not (args.folder / name).is_file():
            raise SystemExit(
                f"{args.folder / name} is missing: run the authors' scripts/make_onnx.py with --save_path {args.folder}"
            )
    features, post = (onnx.load(str(args.folder / f"{n}_runner.onnx")) for n in ("feature", "post"))
    onnx.save(joined(features, post, read_settings(args.folder / "onnx.yaml")), str(args.out))
    print(
        f"{args.out}: now `twin weights add {args.out} --accept-unverified`, then run with depth.method=onnx "
        "depth.onnx_weights=fast-foundationstereo"
    )


if __name__ == "__main__":
    main()
