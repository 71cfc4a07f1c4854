"""The tiny-cuda-nn adapter on a stand-in that follows its conventions: conversion both ways, training there, rendering here, refusals."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch

from stages.core.errors import StageError
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.surface.device import tcnn_layout
from stages.surface.device.field import DeviceField, TorchParts
from stages.surface.device.steps import DeviceSteps
from stages.surface.device.tcnn_parts import TcnnParts
from stages.surface.field.torch_twin import TorchTwin
from stages.surface.training.train import Cube, Lesson, Schedule
from tests.surface import fake_tinycudann
from tools.gpu_checks import shapes

CPU = torch.device("cpu")
SHAPE = FieldShape(levels=8, log2_entries=13, base_resolution=8, finest_resolution=150, hidden=32, colour_hidden=16)
DEEP = FieldShape(
    levels=4,
    log2_entries=10,
    base_resolution=4,
    finest_resolution=50,
    hidden=16,
    sdf_layers=3,
    geo_features=6,
    colour_hidden=16,
)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """`import tinycudann` finds the stand-in."""
    monkeypatch.setitem(sys.modules, "tinycudann", fake_tinycudann)


def made(shape: FieldShape, seed: int = 2) -> Field:
    """A field of a smooth size, so that float16's rounding can be told from a wrong place."""
    field, rng = Field.create(shape, seed=seed, threads=1), np.random.default_rng(seed)
    field.grid[:] = rng.normal(0, 0.1, field.grid.shape)
    field.sdf_weights[:] += rng.normal(0, 0.1, field.sdf_weights.shape)
    field.colour_weights[:] += rng.normal(0, 0.1, field.colour_weights.shape)
    return field


def on_tcnn(field: Field) -> DeviceField:
    """The field on the stand-in."""
    return DeviceField(field.shape, field.radius, TcnnParts(field, CPU), CPU)


def views(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and unit directions."""
    numbers = torch.Generator().manual_seed(1)
    return torch.rand((n, 3), generator=numbers), torch.nn.functional.normalize(
        torch.randn((n, 3), generator=numbers), dim=1
    )


@pytest.mark.parametrize("shape", [SHAPE, DEEP])
def test_a_field_renders_the_same_there_up_to_half_precision(shape: FieldShape) -> None:
    field, (x, view) = made(shape), views(500)
    twin = TorchTwin(field)
    twin.layout = tcnn_layout.float32_layout(shape)
    sdf, geo = twin(x)
    there = on_tcnn(field)
    sdf_there, geo_there = there.forward(x)
    assert sdf.std() > 0.05 and (sdf_there - sdf).abs().max() < 2e-3
    assert (geo_there - geo).abs().max() < 5e-3 * geo.abs().max()
    normal = torch.zeros(3, 500)
    rgb = twin.colour(geo, normal.T, view)
    assert rgb.std() > 0.02 and (there.colour(geo, normal, view.T).T - rgb).abs().max() < 3e-3


def test_conversion_there_and_back_changes_no_bit() -> None:
    field = made(SHAPE)
    back = on_tcnn(field).to_host(threads=1)
    for name in ("grid", "sdf_weights", "colour_weights"):
        assert np.array_equal(getattr(back, name), getattr(field, name)), name


def test_a_field_trained_there_renders_here() -> None:
    """Its padding columns learn too; they must come back as our column of ones."""
    field, (x, _) = made(SHAPE), views(4000)
    there = on_tcnn(field)
    steps = DeviceSteps(there, Lesson(Cube(np.zeros(3), 1.0), None, 1, 0.004, Schedule(1, 0, 1000, 0)), threads=1)
    for k in range(30):
        part = x[(k % 4) * 1000 : (k % 4 + 1) * 1000].numpy()
        target = (np.abs(part - 0.5).max(1) - 0.3).astype(np.float32)
        axis = np.abs(part - 0.5).argmax(1)
        normal = np.sign(part - 0.5)[:750] * np.eye(3)[axis[:750]]
        steps.levels(8.0)
        steps.geometry(part, target, np.ones(1000, np.float32), normal)
        losses = steps.finish(1e-2, 2e-3)
    trained, _ = steps.result()
    extra = steps._field.parts.networks[0].detach().view(-1)[: 32 * 32].view(32, 32)
    assert extra[:, SHAPE.sdf_mlp.widths[0] :].abs().max() > 1e-3, "the padding took part in training"
    assert float(losses["distance"]) < 12
    here = trained.sdf(x.numpy())
    assert np.abs(here - there.forward(x)[0].detach().numpy()).max() < 3e-3
    assert np.abs(here - made(SHAPE).sdf(x.numpy())).max() > 0.1


def test_half_precision_leaves_more_error_which_is_why_auto_takes_triton() -> None:
    """Figures of docs/gpu.md: 160 steps of 2,048 points there, a quarter of it here."""
    steps, batch = int(os.environ.get("STEPS", "50")), int(os.environ.get("BATCH", "1024"))
    shape, errors = FieldShape(levels=8, log2_entries=14, base_resolution=8, finest_resolution=128), {}
    for name in ("float32", "mixed", "tcnn"):
        field, rng = Field.create(shape, 1, threads=1), np.random.default_rng(0)
        parts = TcnnParts(field, CPU) if name == "tcnn" else TorchParts(field, CPU, mixed=name == "mixed")
        on_device = DeviceField(shape, field.radius, parts, CPU)
        trainer = DeviceSteps(
            on_device, Lesson(Cube(np.zeros(3), 1.0), None, 1, 0.0012, Schedule(1, 0, batch, 0)), threads=1
        )
        for k in range(steps):
            trainer.levels(4 + 4 * min(1, (k + 1) / (0.6 * steps)))
            trainer.geometry(*shapes.draw(batch, rng))
            trainer.finish(1e-2 * 0.1 ** (k / steps), 2e-3 * 0.1 ** (k / steps))
        errors[name] = shapes.error(trainer.result()[0].sdf)
    print({k: f"{100 * e:.4f} % of the edge" for k, e in errors.items()})
    assert (
        errors["float32"] < 0.001
        and errors["mixed"] < 2 * errors["float32"]
        and errors["tcnn"] > 1.1 * errors["float32"]
    )


def test_layouts_agree_and_one_that_may_round_otherwise_is_refused() -> None:
    for finest in (64, 300, 777, 2048):
        shape = FieldShape(log2_entries=17, finest_resolution=finest)
        ours, theirs = shape.grid(), tcnn_layout.float32_layout(shape)
        tcnn_layout.check_layout(shape)
        assert np.array_equal(ours.offset, theirs.offset) and np.array_equal(ours.hashed, theirs.hashed)
        assert np.abs(theirs.scale / ours.scale - 1).max() < 3e-6
    with pytest.raises(StageError, match=r"level 1 .* 8 points"):
        tcnn_layout.check_layout(FieldShape(levels=4, log2_entries=17, base_resolution=4, finest_resolution=32))


def test_what_it_cannot_hold_is_refused(monkeypatch) -> None:
    with pytest.raises(StageError, match=r"width \[24\]"):
        on_tcnn(made(FieldShape(levels=4, log2_entries=10, base_resolution=4, finest_resolution=50, hidden=24)))
    with pytest.raises(ValueError, match=r"expected .* weights"):
        tcnn_layout.from_padded(SHAPE.sdf_mlp, np.zeros(7, np.float32))
    monkeypatch.setattr(fake_tinycudann.Encoding, "__init__", lambda self, *_: _other_size(self))
    with pytest.raises(StageError, match="its layout is another"):
        on_tcnn(made(SHAPE))


def test_without_the_library_the_error_says_how_to_build_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(StageError, match=r"(?s)tiny-cuda-nn does not import.*build_cuda_kits"):
        on_tcnn(made(SHAPE))


def _other_size(module: torch.nn.Module) -> None:
    torch.nn.Module.__init__(module)
    module.params = torch.nn.Parameter(torch.zeros(10))
