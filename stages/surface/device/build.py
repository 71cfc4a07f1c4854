"""Puts a device backend together: its parts on the device, the batch cut to what memory holds, the step."""

from __future__ import annotations

import importlib
import logging

import torch

from stages.core.devices import captures_graphs, computes_well_in_half, torch_device
from stages.core.errors import StageError
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.memory import Memory, Plan, choose_plan, free_gb
from stages.surface.config import SurfaceConfig
from stages.surface.device.field import DeviceField, Parts, TorchParts
from stages.surface.device.learning_steps import DeviceLearningSteps
from stages.surface.device.steps import DeviceSteps
from stages.surface.field.taps import TETRAHEDRON
from stages.surface.learning.learn import WARM_POINTS, LearningPlan
from stages.surface.learning.steps import Weights
from stages.surface.training.train import Lesson, Schedule

log = logging.getLogger(__name__)
MOST_PARTS = 64


def device_steps(backend: str, field: Field, lesson: Lesson, config: SurfaceConfig, threads: int) -> DeviceSteps:
    """The step of `torch`, `triton` or `tcnn`."""
    device = torch_device(_device_of(backend))
    parts = divided(field.shape, lesson.schedule, backend, free_gb(device.type), memory=config.memory)
    made = make_parts(backend, field, device, mixed=config.precision == "mixed")
    on_device = DeviceField(field.shape, field.radius, made, device)
    capture = config.capture_step and captures_graphs(device) and backend != "tcnn"
    return DeviceSteps(on_device, lesson, threads, parts, fused=backend == "triton", capture=capture)


def device_learning_steps(
    backend: str, field: Field, weights: Weights, config: SurfaceConfig, threads: int
) -> DeviceLearningSteps:
    """The step of `torch`, `triton` or `tcnn` for a field that learns from pictures."""
    device = torch_device(_device_of(backend))
    on_device = DeviceField(
        field.shape, field.radius, make_parts(backend, field, device, mixed=config.precision == "mixed"), device
    )
    return DeviceLearningSteps(on_device, weights, threads, fused=backend == "triton")


def _device_of(backend: str) -> str:
    """Triton in its interpreter works on the CPU's tensors."""
    if backend == "triton" and importlib.import_module("stages.surface.device.triton_grid").INTERPRETED:
        return "cpu"
    return "auto"


def make_parts(backend: str, field: Field, device: torch.device, mixed: bool = False) -> Parts:
    """Encoding and perceptrons of a backend with the field's parameters. Raises StageError where `mixed` gains nothing."""
    if mixed and not computes_well_in_half(device):
        raise StageError(
            f"surface.precision=mixed needs a GPU that computes faster in float16; the device is {device.type}",
            "leave surface.precision at auto",
        )
    if backend == "tcnn":
        return importlib.import_module("stages.surface.device.tcnn_parts").TcnnParts(field, device)
    if backend == "triton":
        return TorchParts(field, device, importlib.import_module("stages.surface.device.triton_grid").encode, mixed)
    return TorchParts(field, device, mixed=mixed)


def bytes_a_point(shape: FieldShape, backend: str) -> int:
    """Memory of one point in a forward and backward pass, colour included: rows that autograd keeps and their gradients, float32.

    Counted from the code, plus a third for what allocators round up; `make gpu-check` prints it beside what a step really took.
    """
    rows = 3 * shape.sdf_mlp.widths[0] + 4 * sum(shape.sdf_mlp.widths[1:]) + 3 * shape.colour_mlp.widths[0]
    rows += 4 * sum(shape.colour_mlp.widths[1:]) + 40
    corners = 8 * shape.levels * (8 * 4 + 4 * 16) if backend == "torch" else 0  # indices and weights of every corner
    return (4 * rows + corners) * 4 // 3


def bytes_of_parameters(shape: FieldShape) -> int:
    """Grid with its gradient, two moments and step counts."""
    return shape.grid().entries * (4 * 8 + 4)


def learning_gb(backend: str, config: SurfaceConfig) -> float:
    """Of a step of a field that learns from pictures, which is not cut into parts, and of what stays between steps."""
    shape, rays = FieldShape(log2_entries=config.field_log2_entries), config.picture_rays
    regular = (len(TETRAHEDRON) + 1) * (rays + rays // 4) + rays // 2
    points = max(rays * LearningPlan.samples, regular, WARM_POINTS)
    return (points * bytes_a_point(shape, backend) + bytes_of_parameters(shape)) / 1e9


def divided(shape: FieldShape, schedule: Schedule, backend: str, free: float, memory: Memory) -> int:
    """Into how many parts a batch is cut so that it fits into `free` GB; the sum of their gradients is the batch's, so nothing changes.

    Raises StageError where even that does not help, or where `memory` is "fixed" and the whole does not fit.
    """
    largest = max(schedule.points, schedule.rays * schedule.samples if schedule.colour_steps else 0)
    need, always = largest * bytes_a_point(shape, backend) / 1e9, bytes_of_parameters(shape) / 1e9
    counts = [2**k for k in range(MOST_PARTS.bit_length())]
    plans = [Plan({"each batch in parts": k} if k > 1 else {}, need / k + always) for k in counts]
    advice = "lower surface.batch_points, surface.batch_rays or surface.field_log2_entries"
    plan, warning = choose_plan(f"surface.backend={backend}", plans, free, memory, advice=advice)
    if warning:
        log.warning("%s; the result is the same", warning)
    return plan.changes.get("each batch in parts", 1)
