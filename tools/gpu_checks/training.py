"""A whole training step of every backend: its gradients, what it reaches on a known shape, its time and its memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from stages.core.backends import KITS
from stages.core.devices import captures_graphs, computes_well_in_half, finish_work
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.surface.device.build import bytes_a_point, bytes_of_parameters, make_parts
from stages.surface.device.field import DeviceField
from stages.surface.device.steps import DeviceSteps
from stages.surface.training.numba_steps import NumbaSteps
from stages.surface.training.train import Cube, Lesson, Schedule
from stages.surface.views.pixels import Pixels
from tools.gpu_checks import shapes
from tools.gpu_checks.rows import FIGURE, SKIPPED, Row, Sizes, compared, peak_bytes, timed

CUBE, FOOTPRINT = Cube(np.zeros(3), 1.0), 0.0012
GRADIENTS = {"float32": 1e-3, "mixed": 3e-2, "float16": 6e-2}
"""against the hand-written gradients of the numba kernels, relative norm of the difference"""
REACHED = {"float32": 2e-4, "mixed": 3e-4, "float16": 1e-3}
"""median distance from the shape after training at full size; shares of the cube's edge"""


def backends(device: torch.device) -> list[tuple[str, bool]]:
    """(backend, mixed) of all that may run."""
    found = [("torch", False), ("triton", False)]
    if computes_well_in_half(device):
        found += [("triton", True), ("tcnn", False)]
    return found


def check(device: torch.device, sizes: Sizes, tiny: bool) -> Iterator[Row]:
    """Rows of all backends."""
    for backend, mixed in backends(device):
        kit = KITS.get({"tcnn": "tinycudann"}.get(backend, backend))
        name = backend + (", mixed" if mixed else "")
        # Triton's interpreter needs no GPU, only the package
        interpreted = tiny and backend == "triton" and kit is not None and bool(kit.version())
        if kit is not None and not interpreted and (problem := kit.problem()):
            yield Row(f"step {name}", SKIPPED, f"{problem}; {kit.command}")
            continue
        yield from _check_backend(name, backend, mixed, device, sizes=sizes, tiny=tiny)


def _check_backend(
    name: str, backend: str, mixed: bool, device: torch.device, sizes: Sizes, tiny: bool
) -> Iterator[Row]:
    precision = "mixed" if mixed else "float16" if backend == "tcnn" else "float32"
    yield compared(f"step {name}: gradients", _gradient_error(backend, mixed, device, sizes), GRADIENTS[precision])
    seconds, reached = _trained(backend, mixed, device, sizes)
    said = f"{sizes.steps} steps of {sizes.batch} points in {seconds:.1f} s"
    yield compared(f"training {name}", reached, 1.0 if tiny else REACHED[precision], said, seconds=seconds)
    for capture in (False, True) if captures_graphs(device) and backend == "triton" else (False,):
        yield _speed(name, backend, mixed, capture, device=device, sizes=sizes)


def field_of(sizes: Sizes, rough: bool = False) -> Field:
    """The field that is trained; `rough`: with parameters large enough that every term of a gradient counts."""
    shape = FieldShape(levels=sizes.levels, log2_entries=min(sizes.log2_entries, 17), finest_resolution=400)
    field = Field.create(shape, seed=1, threads=1)
    if rough:
        rng = np.random.default_rng(1)
        field.grid[:] = rng.normal(0, 0.05, field.grid.shape)
        field.sdf_weights[:] += rng.normal(0, 0.05, field.sdf_weights.shape)
    return field


def pixels(count: int = 2000) -> Pixels:
    """Pixels of six cameras that look at the shape."""
    rng = np.random.default_rng(3)
    inward = rng.normal(size=(count, 3))
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    eye = shapes.CENTRE - 1.5 * inward
    depth = 1.5 - shapes.radius(-inward)[:, 0]
    return Pixels(
        rng.integers(0, 6, count).astype(np.int32), rng.random((count, 3)).astype(np.float32), eye, inward, depth=depth
    )


def steps_of(
    backend: str, mixed: bool, device: torch.device, sizes: Sizes, field: Field, capture: bool = False
) -> DeviceSteps:
    """A backend's step."""
    on_device = DeviceField(field.shape, field.radius, make_parts(backend, field, device, mixed), device)
    schedule = Schedule(1, 1, sizes.batch, sizes.batch // 16)
    lesson = Lesson(CUBE, pixels(), 6, FOOTPRINT, schedule=schedule)
    return DeviceSteps(on_device, lesson, threads=1, fused=backend == "triton", capture=capture)


def stage(steps, sizes: Sizes, rng: np.random.Generator) -> None:
    """All that a step may do."""
    rays = max(1, sizes.batch // 16)
    steps.geometry(*shapes.draw(sizes.batch, rng))
    steps.surface_colour(rng.integers(0, 2000, rays))
    steps.rendered_colour(rng.integers(0, 2000, rays), FOOTPRINT * np.sort(rng.normal(size=(rays, 8)), 1), 0.7)


def _gradient_error(backend: str, mixed: bool, device: torch.device, sizes: Sizes) -> float:
    schedule = Schedule(1, 1, sizes.batch, sizes.batch // 16)
    hand = NumbaSteps(field_of(sizes, rough=True), Lesson(CUBE, pixels(), 6, FOOTPRINT, schedule=schedule))
    ours = steps_of(backend, mixed, device, sizes, field=field_of(sizes, rough=True))
    for steps in (hand, ours):
        steps.levels(sizes.levels - 0.5)
        stage(steps, sizes, np.random.default_rng(5))
    wanted = hand.result()[0].gradients()["grid"].ravel()
    return float(np.linalg.norm(ours.gradients()["grid"].ravel() - wanted) / np.linalg.norm(wanted))


def _trained(backend: str, mixed: bool, device: torch.device, sizes: Sizes) -> tuple[float, float]:
    """(seconds, median error) of a training on distances alone, rendered by the numba kernels."""
    steps, rng = steps_of(backend, mixed, device, sizes, field=field_of(sizes)), np.random.default_rng(0)
    started = time.perf_counter()
    for k in range(sizes.steps):
        steps.levels(min(sizes.levels, 4 + (sizes.levels - 4) * (k + 1) / (0.6 * sizes.steps)))
        steps.geometry(*shapes.draw(sizes.batch, rng))
        steps.finish(1e-2 * 0.1 ** (k / sizes.steps), 2e-3 * 0.1 ** (k / sizes.steps))
    finish_work(device)
    return time.perf_counter() - started, shapes.error(steps.result()[0].sdf)


def _speed(name: str, backend: str, mixed: bool, capture: bool, device: torch.device, sizes: Sizes) -> Row:
    """Time of a step with all its parts, the host's draws left out, and its memory beside the estimate of device/build.py."""
    field = field_of(sizes)
    steps, rng = steps_of(backend, mixed, device, sizes, field=field, capture=capture), np.random.default_rng(2)
    steps.levels(sizes.levels)

    def one() -> None:
        for kind in ("geometry", "surface_colour", "rendered_colour"):
            steps.again(kind)
        steps.finish(1e-3, 1e-3)

    stage(steps, sizes, rng)
    steps.finish(1e-3, 1e-3)
    peak = peak_bytes(device, one)
    seconds = timed(device, one, sizes.runs)
    estimate = sizes.batch * bytes_a_point(field.shape, backend) + bytes_of_parameters(field.shape)
    taken = f"{peak / 1e6:.0f} MB, estimated {estimate / 1e6:.0f}"
    said = f"{1e3 * seconds:.2f} ms for {sizes.batch} points and {sizes.batch // 16} rays; {taken}"
    return Row(
        f"step {name}{', captured' if capture else ''}: speed",
        FIGURE,
        said,
        {"seconds": seconds, "peak_bytes": peak, "estimated_bytes": estimate},
    )
