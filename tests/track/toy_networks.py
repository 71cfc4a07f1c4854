"""Networks of tracking for tests, small and without training, with the inputs and outputs of the published ones. They really work:
corners of a blurred picture described by random projections of their surroundings, matched by mutual nearest descriptors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from onnx import TensorProto

from tests.onnx_graph import Graph

TILE = (128, 160)
"""height, width of the toy XFeat's picture"""


def write_xfeat(path: Path) -> Path:
    """Key points: local maxima (9 x 9) of the blurred grey picture, scored by brightness; descriptors: 64 random filters of 15 x 15."""
    rng = np.random.default_rng(0)
    blur = np.exp(-(np.arange(-4, 5) ** 2) / 4.0)
    kernel = np.outer(blur, blur) / blur.sum() ** 2
    filters = rng.normal(size=(64, 1, 15, 15))
    filters -= filters.mean((2, 3), keepdims=True)
    g = Graph()
    g.add("ReduceMean", ["images"], "grey", axes=[1], keepdims=1)
    g.add("Conv", ["grey", g.constant("blur", kernel[None, None].astype(np.float32))], "smooth", pads=[4] * 4)
    g.add("MaxPool", ["smooth"], "highest", kernel_shape=[9, 9], pads=[4] * 4)
    g.add("Equal", ["smooth", "highest"], "peak")
    g.add("NonZero", ["peak"], "where")  # (4, N): batch, channel, row, column
    g.add("Gather", ["where", g.constant("xy", np.array([3, 2]))], "columns_rows", axis=0)
    g.add("Transpose", ["columns_rows"], "whole", perm=[1, 0])
    g.add("Cast", ["whole"], "keypoints", to=TensorProto.FLOAT)
    g.add("Transpose", ["where"], "index", perm=[1, 0])
    g.add("GatherND", ["smooth", "index"], "scores")
    g.add("Conv", ["smooth", g.constant("filters", filters.astype(np.float32))], "dense", pads=[7] * 4)
    g.add("Transpose", ["dense"], "last", perm=[0, 2, 3, 1])
    g.add("Gather", ["index", g.constant("brc", np.array([0, 2, 3]))], "places", axis=1)
    g.add("GatherND", ["last", "places"], "raw")
    g.add("LpNormalization", ["raw"], "descriptors", axis=1, p=2)
    return g.save(path, {"images": (1, 3, *TILE)}, {"keypoints": ("n", 2), "descriptors": ("n", 64), "scores": ("n",)})


def write_lighterglue(path: Path) -> Path:
    """Mutual nearest descriptors; none at all when a key point lies outside -1..1, so that a wrong normalisation is noticed."""
    g = Graph()
    g.add("Transpose", ["desc1"], "turned", perm=[0, 2, 1])
    g.add("MatMul", ["desc0", "turned"], "alike")
    g.add("ReduceMax", ["alike"], "best_of_row", axes=[2], keepdims=1)
    g.add("ReduceMax", ["alike"], "best_of_column", axes=[1], keepdims=1)
    g.add("Equal", ["alike", "best_of_row"], "in_row")
    g.add("Equal", ["alike", "best_of_column"], "in_column")
    g.add("And", ["in_row", "in_column"], "mutual")
    inside = []
    for i in (0, 1):
        g.add("Abs", [f"kpts{i}"], f"far{i}")
        g.add("ReduceMax", [f"far{i}"], f"farthest{i}", keepdims=0)
        inside.append(g.add("LessOrEqual", [f"farthest{i}", g.constant(f"one{i}", np.float32(1))], f"inside{i}"))
    g.add("And", inside, "sane")
    g.add("And", ["mutual", "sane"], "chosen")
    g.add("NonZero", ["chosen"], "where")
    g.add("Transpose", ["where"], "index", perm=[1, 0])
    g.add("GatherND", ["alike", "index"], "scores")
    g.add("Gather", ["index", g.constant("pair", np.array([1, 2]))], "matches", axis=1)
    places = {f"kpts{i}": (1, f"n{i}", 2) for i in (0, 1)} | {f"desc{i}": (1, f"n{i}", 64) for i in (0, 1)}
    return g.save(path, places, {"matches": ("m", 2), "scores": ("m",)}, whole=("matches",))


def register(folder: Path, **files: Path) -> None:
    """A registry in the weights folder in which these files stand for the entries of the same names."""

    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    common = {"title": "toy", "page": "https://example.org", "licence": "Apache-2.0", "commercial": True}
    entries = {n.replace("_", "-"): {**common, "download": p.name, "sha256": digest(p)} for n, p in files.items()}
    (folder / "registry.yaml").write_text(json.dumps(entries))
