"""From a trained network to the file that is used: sigma calibrated, weights as float16, one ONNX graph."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages.depth.stereo_net.contract import WEIGHTS_CONTRACT
from stages.depth.stereo_net.network import StereoNet
from tools.stereo_training.scenes import Batch

COVERAGE = 0.95
GROSS_PX = 8.0
"""Errors beyond this are mismatches: another surface, which no sigma of this one describes."""
OPSET = 17
SMALLEST_HALVED = 64
"""Tensors with fewer values stay float32."""


@dataclass(frozen=True)
class Calibration:
    """sigma = sqrt(floor^2 + (factor * scale^power)^2), px, of the Laplace scale that the network predicts."""

    factor: float
    power: float
    floor_px: float = 0.05

    def sigma(self, log_scale: torch.Tensor) -> torch.Tensor:
        """px."""
        return torch.sqrt(self.floor_px**2 + (self.factor * torch.exp(self.power * log_scale)) ** 2)

    @staticmethod
    def coverage(net: StereoNet, batches: list[Batch], found: Calibration) -> tuple[float, float]:
        """Shares of errors within one and two sigma, of pixels on the right surface that both eyes see."""
        error, log_scale = _errors(net, batches)
        sigma = found.sigma(log_scale)
        return float((error < sigma).float().mean()), float((error < 2 * sigma).float().mean())


def calibrate(net: StereoNet, batches: list[Batch]) -> Calibration:
    """Power by the likelihood of a Gaussian over a grid, factor so that two sigma cover 95 %."""
    error, log_scale = _errors(net, batches)
    best: tuple[float, Calibration] | None = None
    for power in np.arange(0.6, 1.5, 0.1):
        ratio = error / torch.exp(float(power) * log_scale)
        found = Calibration(
            float(torch.quantile(ratio[:: max(1, len(ratio) // 1_000_000)], COVERAGE)) / 2, float(power)
        )
        sigma = found.sigma(log_scale)
        cost = float((0.5 * (error / sigma) ** 2 + torch.log(sigma)).mean())
        if best is None or cost < best[0]:
            best = cost, found
    assert best is not None
    return best[1]


@torch.inference_mode()
def _errors(net: StereoNet, batches: list[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    errors, scales = [], []
    for b in batches:
        disparity, log_scale = net(b.left, b.right)
        error = (disparity - b.disparity).abs()
        kept = b.visible & (error < GROSS_PX)
        errors.append(error[kept])
        scales.append(log_scale[kept])
    return torch.cat(errors), torch.cat(scales)


class _Calibrated(nn.Module):
    def __init__(self, net: StereoNet, calibration: Calibration) -> None:
        super().__init__()
        self.net, self.calibration = net, calibration

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        disparity, log_scale = self.net(left, right)
        return disparity.clamp(min=0), self.calibration.sigma(log_scale)


def write_onnx(net: StereoNet, calibration: Calibration, path: Path, notes: dict[str, str]) -> None:
    """The graph for any size, with `notes` as its metadata."""
    import onnx

    example = torch.rand(1, 3, 128, 256)
    names = WEIGHTS_CONTRACT
    outputs = [str(names["output"]), str(names["sigma"])]
    axes = {name: {2: "height", 3: "width"} for name in (*names["inputs"], *outputs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the exporter that needs no further package is called old; shapes are traced on purpose
        torch.onnx.export(
            _Calibrated(net, calibration).eval(),
            (example, example),
            str(path),
            input_names=list(names["inputs"]),
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(str(path))
    halve_weights(model)
    onnx.helper.set_model_props(model, notes)
    onnx.save(model, str(path))


def halve_weights(model) -> None:
    """Store large float32 weights as float16 that are cast back when the file is opened; the arithmetic stays float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_HALVED:
            continue
        stored = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name + "_half")
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(stored)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
