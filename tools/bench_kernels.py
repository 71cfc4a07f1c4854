"""How fast the neural field's kernels are, against the torch twin and against what this machine can do at most.

    make bench-kernels [ARGS="--points 65536 --log2-entries 19 --json out.json"]

Every figure is the best of several runs. "core" is processor time summed over threads, which other programs disturb less than wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from stages.core.field import field_kernels
from stages.core.field.adam import step_touched
from stages.core.field.field import Field
from stages.core.field.field_shape import FieldShape
from stages.core.field.hash_grid import BLOCK, FEATURES, LINE, aligned_zeros
from stages.core.field.thread_team import ThreadTeam

FAST = {"nogil": True, "fastmath": True}
LINE_BYTES = 64


def main() -> None:
    """Measure, print tables, and write them as JSON if asked."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--points", type=int, default=65536, help="points of a batch")
    arguments.add_argument("--log2-entries", type=int, default=19, help="entries of a level's table")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--runs", type=int, default=7)
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    args = arguments.parse_args()
    shape, batches = (
        FieldShape(log2_entries=args.log2_entries),
        {"shell": shell(args.points), "cube": cube(args.points)},
    )
    limits = machine_limits(args.threads)
    for where, suffix in (("one thread", ""), (f"{args.threads} threads", "_all")):
        print(
            f"limits, {where}: multiply-add {limits['gflops' + suffix]:.0f} GFLOP/s, triad {limits['triad_gbs' + suffix]:.1f} GB/s"
        )
    figures: dict = {
        "points": args.points,
        "log2_entries": args.log2_entries,
        "threads": args.threads,
        "limits": limits,
        "batches": {},
    }
    for name, x in batches.items():
        print(f"\n{name}: {args.points} points, {describe(name)}")
        kernels = time_kernels(shape, x, args.runs)
        print_kernels(kernels, limits)
        steps = {threads: time_step(shape, x, threads, args.runs) for threads in sorted({1, args.threads})}
        print_steps(steps, args.points)
        figures["batches"][name] = {"kernels": kernels, "steps": steps}
    twin = time_twin(shape, batches["shell"], args.threads)
    ours = figures["batches"]["shell"]["steps"][args.threads]
    print_twin(twin, ours, args.points)
    figures["twin"] = twin
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def shell(n: int) -> np.ndarray:
    """Samples of rays in a thin shell, 16 a ray, as training draws them."""
    rng = np.random.default_rng(0)
    outward, ray = rng.normal(size=(2, n // 16, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    ray = ray / np.linalg.norm(ray, axis=1, keepdims=True) - outward
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    along = np.linspace(-0.02, 0.02, 16)
    return (0.5 + 0.3 * outward[:, None] + ray[:, None] * along[None, :, None]).reshape(-1, 3).astype(np.float32)


def cube(n: int) -> np.ndarray:
    """Points anywhere in the unit cube: no two share a fine cell, the worst case for memory."""
    return np.random.default_rng(0).random((n, 3)).astype(np.float32)


def describe(name: str) -> str:
    """What a batch is, in words."""
    return {
        "shell": "16 samples a ray in a shell round a sphere",
        "cube": "anywhere in the cube (worst case for memory)",
    }[name]


# ---- the machine's limits ------------------------------------------------------------------------------------------------------------


@njit(**FAST)
def _multiply_add(rounds, a, b):
    values = np.zeros(256, np.float32)
    for _ in range(rounds):
        for k in range(256):
            values[k] = values[k] * a + b
    return values.sum()


@njit(**FAST)
def _triad(a, b, c, s):
    for k in range(a.size):
        a[k] = b[k] + s * c[k]


def machine_limits(threads: int) -> dict[str, float]:
    """Peak float32 multiply-adds from registers and the triad a = b + s c over arrays larger than the caches, one thread and all."""
    rounds, size = 100_000, 1 << 24
    out = {}
    for suffix, workers in (("", 1), ("_all", threads)):
        team, arrays = ThreadTeam(workers), [np.ones(size, np.float32) for _ in range(3 * workers)]
        flops = best(
            lambda t=team: t.run(lambda _: _multiply_add(rounds, np.float32(0.9), np.float32(0.1)), t.threads), 7
        )
        triad = best(
            lambda t=team, a=arrays: t.run(lambda k: _triad(*a[3 * k : 3 * k + 3], np.float32(0.5)), t.threads), 7
        )
        out[f"gflops{suffix}"] = rounds * 512 * workers / flops["wall"] * 1e-9
        out[f"triad_gbs{suffix}"] = 12 * size * workers / triad["wall"] * 1e-9
    return out


def best(function: Callable[[], object], runs: int) -> dict[str, float]:
    """Least wall and processor seconds of `runs` calls after a first one."""
    function()
    out = {"wall": float("inf"), "core": float("inf")}
    for _ in range(runs):
        wall, core = time.perf_counter(), time.process_time()
        function()
        out["core"] = min(out["core"], time.process_time() - core)
        out["wall"] = min(out["wall"], time.perf_counter() - wall)
    return out


# ---- kernel by kernel, one thread ----------------------------------------------------------------------------------------------------


def time_kernels(shape: FieldShape, x: np.ndarray, runs: int) -> dict[str, dict[str, float]]:
    """Per kernel: ns a point on one core, multiply-adds as flop a point, bytes a point that must come from or go to memory."""
    bench = _Bench(shape, x)
    names = ("prepare", "encode", "decode", "decode_backward", "scatter", "adam")
    seconds = dict.fromkeys(names, float("inf"))
    for _ in range(runs + 1):
        for name in names:
            started = time.thread_time()
            getattr(bench, name)()
            seconds[name] = min(seconds[name], time.thread_time() - started)
    work = bench.work()
    return {name: {"ns": seconds[name] / len(x) * 1e9, **work[name]} for name in names}


class _Bench:
    def __init__(self, shape: FieldShape, x: np.ndarray) -> None:
        self.field, self.x, self.layout = Field.create(shape, threads=1), x, shape.grid()
        self.widths = np.array(shape.sdf_mlp.widths)
        self.blocks, hidden = -(-len(x) // BLOCK), int(self.widths[1:-1].sum())
        self.xs, self.enc, self.hidden = (
            aligned_zeros((self.blocks, rows * BLOCK)) for rows in (3, self.widths[0], hidden)
        )
        self.sdf, self.geo = np.empty(len(x), np.float32), np.empty((shape.geo_features, len(x)), np.float32)
        self.d_w, self.levels = np.zeros(self.field.sdf_weights.size, np.float32), range(shape.levels)
        self.first, self.second, self.grad = (aligned_zeros(self.field.grid.shape) for _ in range(3))
        self.steps, self.touched = np.zeros(len(self.grad), np.uint16), np.zeros(len(self.grad) // LINE, np.uint8)
        self.lines = 0

    def prepare(self) -> None:
        field_kernels.prepare(self.x, 0, self.blocks, len(self.levels), xs=self.xs, enc=self.enc)

    def encode(self) -> None:
        for k in self.levels:
            table, place = self.layout.part(self.field.grid, k), self.layout.place(k)
            field_kernels.encode_level(k, 0, self.blocks, table, *place, np.float32(1), self.xs, self.enc)

    def decode(self) -> None:
        network = self.field.sdf_weights, self.widths, np.float32(0.3)
        field_kernels.decode(self.x, 0, self.blocks, *network, self.enc, self.hidden, self.sdf, self.geo)

    def decode_backward(self) -> None:
        network = self.field.sdf_weights, self.widths, self.d_w
        field_kernels.decode_backward(self.sdf, self.geo, 0, self.blocks, *network, self.enc, self.hidden, self.enc)

    def scatter(self) -> None:
        for k in self.levels:
            grad, touched = self.layout.part(self.grad, k), self._lines_of(k)
            field_kernels.scatter_level(
                k, len(self.x), *self.layout.place(k), np.float32(1), self.xs, self.enc, grad, touched
            )
        self.lines = int(self.touched.sum())

    def adam(self) -> None:
        optimiser = self.field._training().grid
        numbers = np.float32(1e-6), *optimiser.shape.numbers()
        for k in self.levels:
            flat = [self.layout.part(a, k).reshape(-1) for a in (self.grad, self.field.grid, self.first, self.second)]
            step_touched(self._lines_of(k), *flat, self.layout.part(self.steps, k), optimiser.corrections, *numbers)

    def work(self) -> dict[str, dict[str, float]]:
        """Flop and memory bytes a point. Table lines are counted once a batch: what a cache as large as a level's table would leave."""
        levels, n = len(self.levels), len(self.x)
        weights = sum(int(a * b) for a, b in zip(self.widths, self.widths[1:], strict=False))
        line_bytes, enc_bytes, hidden_bytes = (
            self.lines * LINE_BYTES / n,
            4 * int(self.widths[0]),
            4 * int(self.widths[1:-1].sum()),
        )
        out_bytes = 4 * int(self.widths[-1])
        return {
            "prepare": {"flop": 9, "bytes": 12 + 12 + 16},
            "encode": {"flop": levels * (8 * FEATURES * 2 + 20), "bytes": line_bytes + 8 * levels + 12},
            "decode": {
                "flop": 2 * weights + 4 * int(self.widths[1:-1].sum()),
                "bytes": enc_bytes + hidden_bytes + out_bytes + 12,
            },
            "decode_backward": {
                "flop": 4 * weights + 4 * int(self.widths[1:-1].sum()),
                "bytes": 2 * enc_bytes + hidden_bytes + out_bytes,
            },
            "scatter": {"flop": levels * (8 * FEATURES * 2 + 20), "bytes": 2 * line_bytes + 8 * levels + 12},
            "adam": {"flop": 12 * LINE * FEATURES * self.lines / n, "bytes": 8.5 * line_bytes},
        }

    def _lines_of(self, level: int) -> np.ndarray:
        start, size = self.layout.offset[level] // LINE, self.layout.size[level] // LINE
        return self.touched[start : start + size]


def print_kernels(kernels: dict[str, dict[str, float]], limits: dict[str, float]) -> None:
    """Table of time and share of the machine's limits, one core."""
    print(f"  {'kernel, one core':18s} {'ns/point':>9s} {'GFLOP/s':>9s} {'of peak':>8s} {'GB/s':>7s} {'of triad':>8s}")
    for name, k in kernels.items():
        gflops, gbs = k["flop"] / k["ns"], k["bytes"] / k["ns"]
        print(
            f"  {name:18s} {k['ns']:9.1f} {gflops:9.1f} {gflops / limits['gflops']:8.0%} {gbs:7.1f} {gbs / limits['triad_gbs']:8.0%}"
        )
    print(f"  {'all':18s} {sum(k['ns'] for k in kernels.values()):9.1f}")


# ---- whole steps ---------------------------------------------------------------------------------------------------------------------


def time_step(shape: FieldShape, x: np.ndarray, threads: int, runs: int) -> dict[str, dict[str, float]]:
    """Seconds of forward, backward and optimiser of one batch, colour head, a step on the eikonal loss, and inference."""
    field, n = Field.create(shape, threads=threads), len(x)
    view = np.tile(np.array([[0, 0, 1]], np.float32), (n, 1))
    parts = {
        k: {"wall": float("inf"), "core": float("inf")} for k in ("forward", "backward", "optimiser", "step", "colour")
    }
    for _ in range(runs + 1):
        clock = [_clock()]
        tape = field.forward(x)
        clock.append(_clock())
        field.backward(tape, tape.sdf / n, tape.geo / n)
        clock.append(_clock())
        field.step(1e-6, 1e-7)
        clock.append(_clock())
        colours = field.colour_forward(tape.geo, view, view)
        field.colour_backward(colours, colours.rgb / n)
        clock.append(_clock())
        for name, (a, b) in {
            "forward": (0, 1),
            "backward": (1, 2),
            "optimiser": (2, 3),
            "step": (0, 3),
            "colour": (3, 4),
        }.items():
            for k, unit in enumerate(("wall", "core")):
                parts[name][unit] = min(parts[name][unit], clock[b][k] - clock[a][k])
    parts["gradient loss"] = best(lambda: _gradient_loss_step(field, x), runs)
    parts["inference"] = best(lambda: field.sdf(x), runs)
    parts["sdf and gradient"] = best(lambda: field.sdf_and_gradient(x), runs)
    return parts


def _gradient_loss_step(field: Field, x: np.ndarray) -> None:
    """A step on the eikonal loss with its exact second-order backward pass."""
    tape = field.forward(x, features=False)
    gradient = field.gradient(tape)
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    field.backward(tape, np.zeros_like(tape.sdf), d_gradient=(length - 1) * gradient / length / len(x))
    field.step(1e-6, 1e-7)


def _clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def print_steps(steps: dict[int, dict[str, dict[str, float]]], points: int) -> None:
    """Nanoseconds a point and million points a second by number of threads."""
    heads = [f"{threads} thread{'s' if threads > 1 else ''}" for threads in steps]
    print(
        f"  {'whole calls':18s}"
        + "".join(f"{h + ': wall':>18s} {'core ns/pt':>11s} {'M points/s':>11s}" for h in heads)
    )
    for name in next(iter(steps.values())):
        row = f"  {name:18s}"
        for parts in steps.values():
            wall, core = (parts[name][k] / points * 1e9 for k in ("wall", "core"))
            row += f"{wall:18.1f} {core:11.1f} {1e3 / wall:11.2f}"
        print(row)


# ---- the torch twin ------------------------------------------------------------------------------------------------------------------


def time_twin(shape: FieldShape, x: np.ndarray, threads: int, runs: int = 2) -> dict[str, dict[str, float]]:
    """The same step in plain torch: forward, autograd backward, torch.optim.Adam (fused) over all parameters."""
    import torch

    from stages.surface.field.torch_twin import TorchTwin

    torch.set_num_threads(threads)
    twin, points = TorchTwin(Field.create(shape, threads=1)), torch.tensor(x)
    trained = [twin.grid, *twin.sdf_layers]
    adam = torch.optim.Adam(trained, lr=1e-6, betas=(0.9, 0.99), eps=1e-15, fused=True)

    def gradients() -> None:
        adam.zero_grad()
        sdf, geo = twin(points)
        ((sdf.square().sum() + geo.square().sum()) / len(x)).backward()

    gradients()
    return {"forward and backward": best(gradients, runs), "optimiser": best(adam.step, runs)}


def print_twin(twin: dict[str, dict[str, float]], ours: dict[str, dict[str, float]], points: int) -> None:
    """Ratios twin / ours, wall and core time."""
    both = {
        "forward and backward": [ours["forward"], ours["backward"]],
        "optimiser": [ours["optimiser"]],
        "step": [ours["forward"], ours["backward"], ours["optimiser"]],
    }
    twin = {**twin, "step": {k: sum(part[k] for part in twin.values()) for k in ("wall", "core")}}
    print(
        f"\n{'torch twin (shell)':22s} {'wall ns/pt':>11s} {'core ns/pt':>11s}   slower than the kernels (wall, core)"
    )
    print("  (our optimiser includes the scatter of the grid's gradient, which torch does in its backward pass)")
    for name, parts in both.items():
        ratios = [twin[name][k] / sum(p[k] for p in parts) for k in ("wall", "core")]
        wall, core = (twin[name][k] / points * 1e9 for k in ("wall", "core"))
        print(f"{name:22s} {wall:11.0f} {core:11.0f}   x {ratios[0]:.1f}, x {ratios[1]:.1f}")


if __name__ == "__main__":
    main()
