"""Adam against torch's, same bits for any number of threads, shapes learnt to 0.2 % of their size, and the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.core.errors import StageError
from stages.core.field.adam import AdamShape, step_touched
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.field.optimiser import DenseAdam
from stages.core.field.thread_team import ThreadTeam
from stages.surface.field.field_files import load_field, save_field
from stages.surface.field.torch_twin import TorchTwin

SHAPE = FieldShape(levels=10, log2_entries=16, base_resolution=8, finest_resolution=256)


def test_grid_adam_moves_touched_entries_as_torch_does_and_leaves_the_others() -> None:
    rng, shape = np.random.default_rng(0), AdamShape()
    grid, first, second, grad = (np.zeros((64, 2), np.float32) for _ in range(4))
    grid[:] = rng.normal(size=grid.shape)
    start, steps, touched = grid.copy(), np.zeros(64, np.uint16), np.zeros(8, np.uint8)
    parameters = [torch.nn.Parameter(torch.tensor(row)) for row in grid[:40].copy()]
    adams = [torch.optim.Adam([p], lr=0.02, betas=(0.9, 0.99), eps=1e-15) for p in parameters]
    for _ in range(30):
        for k in rng.choice(40, 9, replace=False):  # every entry has its own step count
            grad[k] = rng.normal(size=2)
            parameters[k].grad = torch.tensor(grad[k].copy())
            touched[k // 8] = 1
            adams[k].step()
        flat = [a.reshape(-1) for a in (grad, grid, first, second)]
        step_touched(touched, *flat, steps, shape.corrections(), np.float32(0.02), *shape.numbers())
        assert not grad.any() and not touched.any()
    assert np.allclose(grid[:40], torch.stack(parameters).detach().numpy(), rtol=1e-4, atol=2e-6)
    assert np.array_equal(grid[40:], start[40:])


def test_dense_adam_is_torch_adam() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=24).astype(np.float32)
    twin = torch.nn.Parameter(torch.tensor(weights.copy()))
    ours, theirs = DenseAdam(weights), torch.optim.Adam([twin], lr=0.003, betas=(0.9, 0.99), eps=1e-12)
    for _ in range(30):
        ours.grad[:] = rng.normal(size=24)
        twin.grad = torch.tensor(ours.grad.copy())
        ours.step(0.003)
        theirs.step()
    assert np.allclose(weights, twin.detach().numpy(), rtol=1e-4, atol=2e-6)


def test_a_step_over_two_batches_is_torch_adam_on_their_sum() -> None:
    field, x = Field.create(SHAPE, seed=3), np.random.default_rng(3).random((2, 300, 3)).astype(np.float32)
    twin = TorchTwin(field)
    adam = torch.optim.Adam(twin.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-15)
    for batch in x:
        tape = field.forward(batch, features=False)
        field.backward(tape, np.sign(tape.sdf) / 300)
        sdf = twin(torch.tensor(batch))[0]
        (sdf.abs().mean()).backward()
    before, touched = field.grid.copy(), (field.gradients()["grid"] != 0).any(1)
    twin.colour_layers.requires_grad_(False)
    adam.step()
    field.step(lr_grid=1e-3, lr_mlp=1e-3)
    assert np.array_equal(field.grid[~touched], before[~touched])
    # at the first step every touched value moves by the rate, whatever its gradient: compare only gradients well above rounding
    sure = twin.grid.grad.abs().numpy() > 1e-7
    assert np.allclose(field.grid[sure], twin.grid.detach().numpy()[sure], atol=2e-6)
    for ours, theirs in zip(SHAPE.sdf_mlp.layers(field.sdf_weights), twin.sdf_layers, strict=True):
        sure = theirs.grad.abs().numpy() > 1e-6
        assert np.allclose(ours[sure], theirs.detach().numpy()[sure], atol=2e-6)


def sphere(x: np.ndarray) -> np.ndarray:
    """Off-centre sphere of diameter 0.44."""
    return np.linalg.norm(x - [0.55, 0.48, 0.5], axis=1) - 0.22


def cube(x: np.ndarray) -> np.ndarray:
    """Cube of edge 0.5."""
    d = np.abs(x - 0.5) - 0.25
    return np.linalg.norm(np.maximum(d, 0), axis=1) + np.minimum(d.max(1), 0)


def near_sphere(rng: np.random.Generator, n: int) -> np.ndarray:
    """Points round the sphere, standard deviation 0.01."""
    v = rng.normal(size=(n, 3))
    return [0.55, 0.48, 0.5] + 0.22 * v / np.linalg.norm(v, axis=1, keepdims=True) + rng.normal(0, 0.01, (n, 3))


def near_cube(rng: np.random.Generator, n: int) -> np.ndarray:
    """Points round the faces of the cube, standard deviation 0.01."""
    v = rng.uniform(-0.25, 0.25, (n, 3))
    v[np.arange(n), rng.integers(0, 3, n)] = rng.choice([-0.25, 0.25], n)
    return 0.5 + v + rng.normal(0, 0.01, (n, 3))


def train(shape: Callable, near: Callable, threads: int, steps: int) -> Field:
    """Regression of a signed distance known everywhere, three quarters of the points near the surface, coarse levels to fine."""
    field, rng = Field.create(SHAPE, seed=0, sphere_radius=0.3, threads=threads), np.random.default_rng(0)
    for step in range(steps):
        field.active_levels = min(SHAPE.levels, 4 + (SHAPE.levels - 4) * step / (0.6 * steps))
        x = np.concatenate([near(rng, 6144), rng.random((2048, 3))]).astype(np.float32)
        tape = field.forward(x)
        ctape = field.colour_forward(tape.geo, x, x)
        d_geo, _ = field.colour_backward(ctape, 1e-6 * (ctape.rgb - x))
        d_sdf = np.clip((tape.sdf - shape(x)) / 0.002, -1, 1) / len(x)
        field.backward(tape, d_sdf, d_geo)
        decay = 0.01 ** (step / steps)
        field.step(lr_grid=1e-2 * decay, lr_mlp=2e-3 * decay)
    return field


@pytest.mark.parametrize(("shape", "near", "size"), [(sphere, near_sphere, 0.44), (cube, near_cube, 0.5)])
def test_learns_a_shape_to_two_thousandths(shape: Callable, near: Callable, size: float) -> None:
    field = train(shape, near, threads=2, steps=150)
    x = near(np.random.default_rng(9), 20000).astype(np.float32)
    error = np.abs(field.sdf(x) - shape(x)) / size
    assert np.median(error) < 0.0005
    assert np.percentile(error, 95) < 0.002
    steepness = np.linalg.norm(field.sdf_and_gradient(x)[1], axis=1)
    assert np.percentile(np.abs(steepness - 1), 90) < 0.15


def test_same_bits_for_one_and_two_threads() -> None:
    one, two, three = (train(cube, near_cube, threads, steps=10) for threads in (1, 2, 3))
    for other in (two, three):
        assert np.array_equal(one.grid, other.grid)
        assert np.array_equal(one.sdf_weights, other.sdf_weights)
        assert np.array_equal(one.colour_weights, other.colour_weights)


def test_saved_field_is_the_same_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    field = train(cube, near_cube, threads=2, steps=3)
    field.active_levels = 5.5
    save_field(field, tmp_path / "field")
    again, x = load_field(tmp_path / "field"), np.random.default_rng(1).random((500, 3)).astype(np.float32)
    assert again.shape == field.shape
    assert np.array_equal(again.sdf(x), field.sdf(x))
    data = (tmp_path / "field" / "field.safetensors").read_bytes()
    (tmp_path / "field" / "field.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(StageError, match="cannot read the field"):
        load_field(tmp_path / "field")


def test_unusable_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        dataclasses.replace(SHAPE, features=4)
    with pytest.raises(ValueError, match="multiples of 8"):
        dataclasses.replace(SHAPE, hidden=20)


def test_an_exception_in_a_job_is_raised() -> None:
    def fails(job: int) -> None:
        if job == 5:
            raise ValueError("job 5")

    with pytest.raises(ValueError, match="job 5"):
        ThreadTeam(2).run(fails, 9)
