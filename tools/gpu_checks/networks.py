"""The learned networks' libraries on the device: SAM 2 by transformers with random weights, onnxruntime's CUDA provider."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from stages.core.devices import finish_work
from tools.gpu_checks.rows import OK, SKIPPED, WRONG, Row, Sizes, compared, peak_bytes


def check(device: torch.device, sizes: Sizes, tiny: bool) -> Iterator[Row]:
    """Rows of both."""
    yield from _sam2(device, sizes, tiny)
    yield _onnx(device)


def _sam2(device: torch.device, sizes: Sizes, tiny: bool) -> Iterator[Row]:
    """The large one. Its weights are random, so all that can be said is that it runs, is finite, and which time and memory it takes."""
    try:
        network = _network(device, tiny)
    except ImportError as e:
        yield Row("SAM 2", SKIPPED, f"{e}; pip install 'stereotwin[learned]'")
        return
    rgb = np.random.default_rng(0).integers(0, 255, (*sizes.picture, 3), dtype=np.uint8)
    height, width = sizes.picture
    answers, frames = [], 2 if tiny else 12

    def follow() -> None:
        answers.append(network.prompt(0, rgb, [], (width * 0.3, height * 0.3, width * 0.7, height * 0.7)))
        finish_work(device)
        started = time.perf_counter()
        answers.extend(network.follow(k, rgb, False) for k in range(1, frames))
        finish_work(device)
        answers.append((time.perf_counter() - started) / (frames - 1))

    with torch.inference_mode():
        peak = peak_bytes(device, follow)
    seconds = answers.pop()
    right = all(
        np.isfinite(a.logits).all() and a.logits.shape == sizes.picture and 0 <= a.present <= 1 for a in answers
    )
    yield Row(
        "SAM 2, random weights",
        OK if right else WRONG,
        f"{network_size(network):.0f} M parameters, {1e3 * seconds:.0f} ms a frame, {peak / 1e6:.0f} MB",
        {"seconds": seconds, "peak_bytes": peak},
    )


def _network(device: torch.device, tiny: bool):
    from transformers import Sam2VideoConfig, Sam2VideoModel

    from stages.core.weights import entry
    from stages.masks.sam2.model import resized_model
    from stages.masks.sam2.network import Sam2Network

    if tiny:
        from tests.masks.sam2_toy import MODEL as described
    else:
        described = entry("sam2.1-large").model
    torch.manual_seed(0)
    return Sam2Network(Sam2VideoModel(Sam2VideoConfig(**resized_model(described, 0))), device.type)


def network_size(network) -> float:
    """Millions of parameters."""
    return sum(p.numel() for p in network._model.parameters()) / 1e6


def _onnx(device: torch.device) -> Row:
    """A graph made here, on onnxruntime's CUDA provider against its CPU one."""
    try:
        import onnx
        import onnxruntime as ort
    except ImportError as e:
        return Row("onnxruntime, CUDA", SKIPPED, f"{e}; pip install onnx onnxruntime-gpu")
    if device.type != "cuda" or "CUDAExecutionProvider" not in ort.get_available_providers():
        return Row("onnxruntime, CUDA", SKIPPED, "no CUDA provider here; pip install onnxruntime-gpu")
    model, x = _convolution(onnx), np.random.default_rng(0).normal(size=(1, 3, 256, 256)).astype(np.float32)

    def run(provider):
        return ort.InferenceSession(model, providers=[provider]).run(None, {"x": x})[0]

    there, here = run("CUDAExecutionProvider"), run("CPUExecutionProvider")
    return compared(
        "onnxruntime, CUDA",
        float(np.abs(there - here).max() / np.abs(here).max()),
        2e-3,
        f"onnxruntime {ort.__version__}",
    )


def _convolution(onnx) -> bytes:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(1).normal(size=(8, 3, 5, 5)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["a"], pads=[2, 2, 2, 2]), helper.make_node("Relu", ["a"], ["y"])],
        "check",
        [helper.make_tensor_value_info("x", kind, [1, 3, None, None])],
        [helper.make_tensor_value_info("y", kind, [1, 8, None, None])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
