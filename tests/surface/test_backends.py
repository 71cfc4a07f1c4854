"""Every backend of the field against the torch twin and the numba kernels: values, gradients, second order, optimiser, whole steps.

Triton's kernels run here in its interpreter, on the CPU; that they compile for real GPUs is tested too, which needs none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.core.backends import Kit
from stages.core.errors import StageError
from stages.core.field.adam import AdamShape
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.surface.backend import choose
from stages.surface.device import grid as device_grid
from stages.surface.device.adam import RowAdam
from stages.surface.device.build import bytes_a_point, bytes_of_parameters, divided, make_parts
from stages.surface.device.field import DeviceField, TorchParts
from stages.surface.device.grid import DeviceLayout
from stages.surface.device.steps import DeviceSteps
from stages.surface.field.torch_twin import TorchTwin
from stages.surface.field.torch_twin import encode as twin_encode
from stages.surface.training.numba_steps import NumbaSteps
from stages.surface.training.train import Cube, Lesson, Schedule
from stages.surface.views.pixels import Pixels

CPU = torch.device("cpu")
SMALL = FieldShape(
    levels=4, log2_entries=10, base_resolution=4, finest_resolution=40, hidden=16, geo_features=5, colour_hidden=16
)
ACTIVE = [1.0, 1.0, 0.25, 0.0]
COMMON = ("torch", "triton")


@pytest.fixture(scope="session")
def triton_grid():
    """The kernels, in Triton's interpreter where there is no GPU."""
    pytest.importorskip("triton", reason="triton is not installed: its kernels are not tested")
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from stages.surface.device import triton_adam, triton_grid
    finally:
        os.environ.pop("TRITON_INTERPRET") if before is None else None
    return SimpleNamespace(encode=triton_grid.encode, step_rows=triton_adam.step_rows)


@pytest.fixture(params=COMMON)
def encoder(request):
    """Each encoding kernel by its backend's name."""
    return device_grid.encode if request.param == "torch" else request.getfixturevalue("triton_grid").encode


def made(shape: FieldShape = SMALL, seed: int = 1) -> Field:
    """A field with parameters large enough that every term counts."""
    field, rng = Field.create(shape, seed=seed, sphere_radius=0.3, threads=1), np.random.default_rng(seed)
    field.grid[:] = rng.normal(0, 0.3, field.grid.shape)
    field.sdf_weights[:] += rng.normal(0, 0.2, field.sdf_weights.shape)
    field.colour_weights[:] += rng.normal(0, 0.2, field.colour_weights.shape)
    return field


def points(n: int) -> torch.Tensor:
    """Points of the cube, its corners among them."""
    x = torch.rand((n, 3), generator=torch.Generator().manual_seed(3))
    x[:2] = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    return x


def derivatives(encode, x: torch.Tensor, table: torch.Tensor) -> list[torch.Tensor]:
    """Features, their gradients, and the gradients of a loss on those gradients, in the type of `x`."""
    x, table = x.clone().requires_grad_(), table.clone().requires_grad_()
    numbers = torch.Generator().manual_seed(4)
    weight = torch.randn((2 * SMALL.levels, len(x)), generator=numbers).to(x.dtype).requires_grad_()
    features = encode(x, table)
    first = torch.autograd.grad((features * weight).sum(), [x, table], create_graph=True)
    loss = sum((g * torch.randn(g.shape, generator=numbers).to(x.dtype)).sum() for g in first)
    return [features, *first, *torch.autograd.grad(loss, [x, table, weight])]


def test_encoding_and_its_first_and_second_derivatives_match_the_twin(encoder) -> None:
    field, x, active = made(), points(150), torch.tensor(ACTIVE)
    layout = DeviceLayout.of(field.layout, CPU)
    table = torch.tensor(field.grid)
    wanted = derivatives(lambda p, t: twin_encode(t, field.layout, p, ACTIVE).T, x.double(), table.double())
    found = derivatives(lambda p, t: encoder(p, t, active, layout), x, table)
    for theirs, ours in zip(wanted, found, strict=True):
        assert ours.shape == theirs.shape and theirs.abs().max() > 0
        assert (ours - theirs).abs().max() < 5e-6 * theirs.abs().max()


def test_field_colour_and_a_loss_on_the_gradient_match_the_twin(encoder) -> None:
    field, x = made(), points(100)
    x[2] = torch.tensor([-0.2, 0.5, 1.3])
    field.active_levels = 3.25
    twin = TorchTwin(field, torch.float64)
    device = DeviceField(SMALL, field.radius, TorchParts(field, CPU, encoder), CPU)
    device.set_levels(3.25)
    target = torch.randn((SMALL.geo_features, 100), generator=torch.Generator().manual_seed(5))
    results = []
    for evaluate, gradient, parameters, dtype in (
        (twin, twin.gradient, (twin.grid, *twin.sdf_layers), torch.float64),
        (device.forward, device.gradient, (device.parts.grid, device.parts.networks[0]), torch.float32),
    ):
        p = x.to(dtype)
        sdf, geo = evaluate(p)
        slope = gradient(p, create_graph=True)
        (sdf.square().mean() + (geo * target.to(dtype)).mean() + (slope.norm(dim=1) - 1).square().mean()).backward()
        grads = [q.grad.flatten() for q in parameters]
        results.append([sdf, geo, slope, grads[0], torch.cat(grads[1:])])
    for theirs, ours in zip(*results, strict=True):
        assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()


def test_mixed_precision_stays_within_half_precision_of_the_twin() -> None:
    field, x = made(), points(400)
    twin = TorchTwin(field)
    device = DeviceField(SMALL, field.radius, TorchParts(field, CPU, mixed=True), CPU)
    for f in (twin, device):
        sdf, _ = (f if f is twin else f.forward)(x)
        sdf.square().mean().backward()
    exact, rough = twin.grid.grad, device.parts.grid.grad
    assert (device.forward(x)[0] - twin(x)[0]).abs().max() < 2e-3
    assert (rough - exact).norm() < 5e-3 * exact.norm()


def test_a_field_survives_the_device_bit_by_bit() -> None:
    field, x = made(), points(300).numpy()
    back = DeviceField(SMALL, field.radius, TorchParts(field, CPU), CPU).to_host(threads=1)
    assert np.array_equal(back.grid, field.grid) and np.array_equal(back.colour_weights, field.colour_weights)
    assert np.array_equal(back.sdf(x), field.sdf(x))


@pytest.mark.parametrize("fused", [False, True])
def test_row_adam_is_torch_adam_on_the_rows_it_moves(fused: bool, request) -> None:
    if fused:
        request.getfixturevalue("triton_grid")
    rng = np.random.default_rng(0)
    values = torch.tensor(rng.normal(size=(16, 2)).astype(np.float32))
    start = values.clone()
    rows = [torch.nn.Parameter(v.clone()) for v in values]
    theirs = [torch.optim.Adam([r], lr=0.02, betas=(0.9, 0.99), eps=1e-15) for r in rows]
    ours = RowAdam(values, AdamShape(), fused)
    for _ in range(12):
        grad = torch.zeros(16, 2)
        for k in rng.choice(12, 5, replace=False):
            grad[k] = rows[k].grad = torch.tensor(rng.normal(size=2).astype(np.float32))
            theirs[k].step()
        ours.step(grad, torch.tensor(0.02))
    assert torch.allclose(values[:12], torch.stack(list(rows[:12])).detach(), rtol=1e-4, atol=2e-6)
    assert torch.equal(values[12:], start[12:])


def staged(steps, count: int = 400, rays: int = 60) -> None:
    """The same points and rays to any backend's step."""
    rng = np.random.default_rng(6)
    x = rng.random((count, 3)).astype(np.float32)
    normal = rng.normal(size=(3 * count // 4, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    steps.geometry(x, rng.normal(0, 0.1, count).astype(np.float32), rng.random(count).astype(np.float32), normal)
    steps.surface_colour(rng.integers(0, 500, rays))
    steps.rendered_colour(rng.integers(0, 500, rays), 0.002 * np.sort(rng.normal(size=(rays, 8)), 1), 0.7)


def pixels(rng: np.random.Generator) -> Pixels:
    """500 pixels of 6 cameras around a cube of 0.2 m."""
    eye = rng.normal(size=(500, 3))
    eye *= 0.5 / np.linalg.norm(eye, axis=1, keepdims=True)
    ray = rng.normal(0, 0.05, (500, 3)) - eye
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    colour = rng.random((500, 3)).astype(np.float32)
    return Pixels(rng.integers(0, 6, 500).astype(np.int32), colour, eye, ray, rng.uniform(0.42, 0.48, 500))


@pytest.mark.parametrize("parts", [1, 3])
def test_a_whole_step_has_the_gradients_of_the_hand_written_one(parts: int) -> None:
    cube, schedule, taken = Cube(np.full(3, -0.1), 0.2), Schedule(1, 1, 400, 60), pixels(np.random.default_rng(7))
    lesson = Lesson(cube, taken, 6, 0.0005, schedule)
    hand = NumbaSteps(made(), lesson)
    device = DeviceSteps(DeviceField(SMALL, 0.3, TorchParts(made(), CPU), CPU), lesson, threads=1, parts=parts)
    for steps in (hand, device):
        steps.levels(3.5)
        staged(steps)
    ours, theirs = device.gradients(), hand._field.gradients()
    for name, wanted in theirs.items():
        assert np.abs(ours[name].reshape(wanted.shape) - wanted).max() < 1e-4 * np.abs(wanted).max(), name
    hand_gain = hand.result()[1]
    assert np.ptp(hand_gain) > 0 and np.allclose(device.result()[1], hand_gain, atol=1e-5)


@pytest.mark.parametrize("backend", COMMON)
def test_training_moves_the_field_as_the_numba_kernels_do(backend: str, request) -> None:
    cube, schedule, taken = Cube(np.full(3, -0.1), 0.2), Schedule(1, 1, 120, 16), pixels(np.random.default_rng(7))
    fused = backend == "triton"
    encode = request.getfixturevalue("triton_grid").encode if fused else device_grid.encode
    lesson, count = Lesson(cube, taken, 6, 0.0005, schedule), 1 if fused else 5
    hand = NumbaSteps(made(), lesson)
    device = DeviceSteps(DeviceField(SMALL, 0.3, TorchParts(made(), CPU, encode), CPU), lesson, threads=1, fused=fused)
    for steps in (hand, device):
        for _ in range(count):
            steps.levels(4.0)
            staged(steps, 120, 16)
            losses = steps.finish(1e-2, 2e-3)
    theirs, ours = hand.result()[0], device.result()[0]
    assert {k: float(v) for k, v in losses.items()}.keys() == {
        "distance",
        "normal",
        "eikonal",
        "surface_colour",
        "colour",
    }
    x = points(500).numpy()
    moved = np.abs(theirs.sdf(x) - made().sdf(x)).max()
    # Adam moves an entry by its sign however small its gradient: rounding decides a few of them
    assert moved > 0.02 and np.quantile(np.abs(ours.sdf(x) - theirs.sdf(x)), 0.95) < 0.01 * moved


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from stages.surface.device import triton_adam, triton_grid
rows = dict(x="*fp32", u="*fp32", active="*fp32", places="*i32", scales="*fp32", n="i32")
kernels = {
    triton_grid._gather: (dict(rows, table="*i64", out="*fp32"), 256),
    triton_grid._scatter: (dict(rows, d_enc="*fp32", d_table="*fp32"), 256),
    triton_grid._pull: (dict(rows, d_enc="*fp32", table="*i64", d_x="*fp32", levels="i32"), 256),
    triton_adam._step: (dict(values="*fp32", grad="*fp32", first="*fp32", second="*fp32", steps="*i32", corrections="*fp32", rate="*fp32",
                             beta1="fp32", beta2="fp32", keep1="fp32", keep2="fp32", epsilon="fp32", rows="i32"), 512),
}
for target in (GPUTarget("cuda", 90, 32), GPUTarget("cuda", 75, 32), GPUTarget("hip", "gfx942", 64)):
    for kernel, (arguments, block) in kernels.items():
        if target.arch != 90 and kernel is not triton_grid._scatter:
            continue
        for tangent in (False, True) if "u" in arguments else (None,):
            constants = {"BLOCK": block} | ({} if tangent is None else {"TANGENT": tangent})
            signature = {name: arguments.get(name, "constexpr") for name in kernel.arg_names}
            made = triton.compile(ASTSource(kernel, signature, constants), target=target)
            text = made.asm.get("ptx") or made.asm["amdgcn"]
            if kernel is triton_grid._gather:
                assert text.count("ld.global.b64") >= 8, "one load for both features of an entry"
            print(kernel.__name__, target.arch, len(text))
"""


def test_the_kernels_compile_for_real_gpus(tmp_path) -> None:
    """Turing, Hopper and an AMD one, down to machine code; needs none of them. Without the interpreter, so in a process of its own."""
    pytest.importorskip("triton", reason="triton is not installed: its kernels are not compiled")
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 7 + 2 + 2


def test_the_choice_follows_what_the_machine_has(monkeypatch) -> None:
    works: set[str] = set()
    monkeypatch.setattr(Kit, "problem", lambda kit: "" if kit.name in works else "not installed")
    assert choose("auto", cuda=False).name == "numba" and choose("torch", cuda=False).name == "torch"
    assert choose("auto", cuda=True).name == "torch"
    works.add("tinycudann")
    assert choose("auto", cuda=True).name == "tcnn"
    works.symmetric_difference_update({"tinycudann", "triton"})
    assert choose("auto", cuda=True).name == "triton" and choose("triton", cuda=True).name == "triton"
    with pytest.raises(StageError, match=r"(?s)tcnn: not installed.*build_cuda_kits"):
        choose("tcnn", cuda=True)
    with pytest.raises(StageError, match=r"(?s)needs a CUDA GPU.*surface.backend=auto"):
        choose("triton", cuda=False)


def test_a_batch_is_cut_to_the_memory_there_is() -> None:
    shape, schedule = FieldShape(log2_entries=15), Schedule(1, 1, 65536, 1024)
    need = 65536 * bytes_a_point(shape, "triton") / 1e9
    assert divided(shape, schedule, "triton", 10 * need, "auto") == 1
    less = (0.3 * need + bytes_of_parameters(shape) / 1e9) / 0.9
    assert divided(shape, schedule, "triton", less, "auto") == 4
    with pytest.raises(StageError, match=r"(?s)needs about .* GB.*surface.batch_points.*surface.memory=auto"):
        divided(shape, schedule, "triton", less, "fixed")
    with pytest.raises(StageError, match="needs about"):
        divided(shape, schedule, "triton", 1e-6, "auto")


def test_mixed_precision_is_refused_where_it_gains_nothing() -> None:
    with pytest.raises(StageError, match="precision=mixed needs a GPU"):
        make_parts("torch", made(), CPU, mixed=True)
