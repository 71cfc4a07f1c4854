"""The kernels against the torch twin in float64, forward and backward, and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.surface.field.taps import tap_gradient, tap_gradient_backward, tetrahedral_taps
from stages.surface.field.torch_twin import TorchTwin

SMALL = FieldShape(
    levels=6, log2_entries=12, base_resolution=4, finest_resolution=60, hidden=32, geo_features=7, colour_hidden=16
)
DEEP = FieldShape(
    levels=5,
    log2_entries=10,
    base_resolution=3,
    finest_resolution=40,
    hidden=16,
    sdf_layers=2,
    geo_features=4,
    colour_hidden=24,
    colour_layers=2,
)


def made(shape: FieldShape, active: float | None = None) -> Field:
    """A field with parameters large enough that every term counts."""
    field = Field.create(shape, seed=1, sphere_radius=0.3, threads=2)
    rng = np.random.default_rng(2)
    field.grid[:] = rng.normal(0, 0.3, field.grid.shape)
    field.sdf_weights[:] += rng.normal(0, 0.2, field.sdf_weights.shape)
    field.colour_weights[:] += rng.normal(0, 0.2, field.colour_weights.shape)
    if active is not None:
        field.active_levels = active
    return field


def points(n: int, seed: int = 3) -> np.ndarray:
    """Points in the cube, a few outside of it and on its corners."""
    x = np.random.default_rng(seed).random((n, 3)).astype(np.float32)
    x[:4] = [[0, 0, 0], [1, 1, 1], [-0.2, 0.5, 0.4], [0.3, 1.3, 0.7]]
    return x


def close(ours: np.ndarray, theirs: torch.Tensor, tolerance: float = 2e-5) -> None:
    theirs = theirs.detach().double().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())


@pytest.mark.parametrize(("shape", "active"), [(SMALL, None), (SMALL, 3.25), (DEEP, None)])
def test_forward_and_backward_match_the_twin(shape: FieldShape, active: float | None) -> None:
    field = made(shape, active)
    twin, x = TorchTwin(field, torch.float64), points(1000)
    xt = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    sdf, geo = twin(xt)
    tape = field.forward(x)
    close(tape.sdf, sdf)
    close(tape.geo, geo)
    rng = np.random.default_rng(5)
    d_sdf, d_geo = (
        rng.normal(size=tape.sdf.shape).astype(np.float32),
        rng.normal(size=tape.geo.shape).astype(np.float32),
    )
    (sdf @ torch.tensor(d_sdf).double() + (geo * torch.tensor(d_geo).double()).sum()).backward()
    d_x = field.backward(tape, d_sdf, d_geo, want_dx=True)
    close(d_x, xt.grad)
    gradients = field.gradients()
    close(gradients["grid"], twin.grid.grad)
    for ours, theirs in zip(shape.sdf_mlp.layers(gradients["sdf_weights"]), twin.sdf_layers, strict=True):
        close(ours, theirs.grad)


@pytest.mark.parametrize(("shape", "active"), [(SMALL, None), (SMALL, 3.25), (DEEP, None)])
def test_losses_on_the_gradient_match_second_order_autograd(shape: FieldShape, active: float | None) -> None:
    field = made(shape, active)
    twin, x = TorchTwin(field, torch.float64), points(1000)
    xt = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    sdf, geo = twin(xt)
    gradient = torch.autograd.grad(sdf.sum(), xt, create_graph=True)[0]
    target = torch.tensor(np.random.default_rng(8).normal(size=geo.shape))
    (sdf.square().mean() + (geo * target).mean() + (gradient.norm(dim=1) - 1).square().mean()).backward()
    tape, n = field.forward(x), len(x)
    ours = field.gradient(tape)
    close(ours, gradient)
    length = np.linalg.norm(ours, axis=1, keepdims=True)
    d_geo = (target.numpy() / geo.numel()).astype(np.float32)
    field.backward(tape, 2 * tape.sdf / n, d_geo, d_gradient=2 * (length - 1) * ours / length / n)
    gradients = field.gradients()
    layers = shape.sdf_mlp.layers(gradients["sdf_weights"])
    for ours, theirs in [(gradients["grid"], twin.grid), *zip(layers, twin.sdf_layers, strict=True)]:
        assert np.abs(ours - theirs.grad.numpy()).max() <= 2e-5 * theirs.grad.abs().max()


@pytest.mark.parametrize("shape", [SMALL, DEEP])
def test_colour_head_matches_the_twin(shape: FieldShape) -> None:
    field, rng = made(shape), np.random.default_rng(6)
    twin = TorchTwin(field, torch.float64)
    geo = rng.normal(size=(shape.geo_features, 700)).astype(np.float32)
    normal, view = (
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 700, 3)).astype(np.float32)
    )
    d_rgb = rng.normal(size=(700, 3)).astype(np.float32)
    inputs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (geo, normal, view)]
    rgb = twin.colour(*inputs)
    (rgb * torch.tensor(d_rgb).double()).sum().backward()
    tape = field.colour_forward(geo, normal, view)
    close(tape.rgb, rgb)
    assert np.array_equal(tape.rgb, field.colour(geo, normal, view))
    d_geo, d_normal = field.colour_backward(tape, d_rgb)
    close(d_geo, inputs[0].grad)
    close(d_normal, inputs[1].grad)
    for ours, theirs in zip(
        shape.colour_mlp.layers(field.gradients()["colour_weights"]), twin.colour_layers, strict=True
    ):
        close(ours, theirs.grad)


def test_inference_agrees_with_training_pass_and_gradient_with_differences() -> None:
    field, x = made(SMALL), points(500)[4:]
    tape = field.forward(x)
    sdf, gradient = field.sdf_and_gradient(x)
    assert np.array_equal(sdf, field.sdf(x))
    assert np.allclose(sdf, tape.sdf, atol=1e-6)
    assert np.allclose(field.sdf_and_features(x)[1], tape.geo, atol=1e-6)
    close(gradient, TorchTwin(field, torch.float64).gradient(torch.tensor(x, dtype=torch.float64)))
    # finite differences within one cell of the finest level (trilinear: piecewise smooth)
    step = 1e-3
    differences = [
        (field.sdf(x + step * e) - field.sdf(x - step * e)) / (2 * step) for e in np.eye(3, dtype=np.float32)
    ]
    error = np.abs(np.stack(differences, 1) - gradient)
    assert np.median(error) < 2e-3 * np.abs(gradient).max()


def test_taps_are_exact_for_linear_functions_and_their_adjoint_is_the_transpose() -> None:
    x = points(50)
    normal = np.array([0.2, -0.5, 0.7], np.float32)
    assert np.allclose(tap_gradient(tetrahedral_taps(x, 0.01) @ normal, 0.01), normal, atol=1e-4)
    rng = np.random.default_rng(7)
    f, d = rng.normal(size=200).astype(np.float32), rng.normal(size=(50, 3)).astype(np.float32)
    assert np.isclose((tap_gradient(f, 0.01) * d).sum(), f @ tap_gradient_backward(d, 0.01), rtol=1e-4)


def test_starts_as_a_sphere_and_nan_does_no_harm() -> None:
    field, x = Field.create(FieldShape(log2_entries=14), seed=4, sphere_radius=0.25), points(300)
    assert np.abs(field.sdf(x) - (np.linalg.norm(x - 0.5, axis=1) - 0.25)).max() < 1e-5
    x[7] = np.nan
    sdf = field.sdf(x)
    assert np.isnan(sdf[7])
    assert np.isfinite(np.delete(sdf, 7)).all()


def test_empty_batch_and_used_tape() -> None:
    field = Field.create(SMALL)
    assert field.sdf(np.empty((0, 3), np.float32)).shape == (0,)
    tape = field.forward(points(10))
    field.backward(tape, tape.sdf)
    with pytest.raises(ValueError, match="used by a backward pass"):
        field.backward(tape, tape.sdf)
