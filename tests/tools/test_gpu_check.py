"""`make gpu-check` without a GPU: every check runs at toy size, a wrong kernel is found, no GPU is told apart from a wrong result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from stages.core.field.hash_grid import GridLayout
from tools.gpu_checks import grid, shapes
from tools.gpu_checks.rows import OK, WRONG, Sizes, compared, table

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "gpu_check.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own: Triton's interpreter is chosen before triton is imported."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=400, env=env
    )


WANTED = {
    "grid torch: second order, table",
    "step torch: gradients",
    "training torch",
    "step torch: speed",
    "SAM 2, random weights",
}
WITH_TRITON = {"grid triton: second order, points", "step triton: gradients", "training triton"}


def tiny_rows(folder: Path) -> dict[str, dict]:
    done = run("--device", "cpu", "--tiny", "--json", str(folder / "out.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    return {r["name"]: r for r in json.loads((folder / "out.json").read_text())}


def test_every_check_runs_at_toy_size(tmp_path) -> None:
    pytest.importorskip("triton", reason="triton is not installed: its checks do not run")
    rows = tiny_rows(tmp_path)
    assert rows.keys() >= WANTED | WITH_TRITON
    assert all(rows[n]["state"] != "skipped" for n in WANTED | WITH_TRITON)


@pytest.mark.skipif(find_spec("triton") is not None, reason="triton is installed: its checks run at toy size")
def test_without_triton_its_checks_say_so_and_the_others_run(tmp_path) -> None:
    rows = tiny_rows(tmp_path)
    assert rows.keys() >= WANTED and all(rows[n]["state"] != "skipped" for n in WANTED)
    assert rows["step triton"]["state"] == "skipped" and "pip install" in rows["step triton"]["said"]


@pytest.mark.cuda
@pytest.mark.parametrize("only", ["grid", "training", "networks"])
def test_everything_is_right_on_this_gpu(cuda, only: str) -> None:
    """In a process of its own: this one may hold kernels for the interpreter."""
    done = run("--only", only)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_has_its_own_exit_status() -> None:
    done = run()
    assert done.returncode == 3 and "Nothing was checked" in done.stderr


def test_a_kernel_that_forgets_half_a_pixel_is_wrong(monkeypatch) -> None:
    from stages.surface.device import grid as device_grid

    def broken(x, t, a, g):
        return device_grid.encode((x + 1e-3).clamp(max=1), t, a, g)

    monkeypatch.setattr(grid, "encoders", lambda: {"broken": broken, "torch": device_grid.encode})
    rows = list(grid.check(torch.device("cpu"), Sizes.tiny(), 1e9))
    states = {r.name: r.state for r in rows}
    assert states["grid broken: features"] == WRONG and states["grid torch: features"] == OK
    assert "WRONG" in table(rows)
    assert compared("nan", float("nan"), 1.0).state == WRONG


def test_points_on_the_sides_of_cells_are_left_out() -> None:
    layout = GridLayout.of(3, 10, 4, 16)
    x = torch.tensor([[0.5 / float(layout.scale[0]), 0.3, 0.3], [0.31, 0.37, 0.29]])
    assert torch.equal(grid.inside_cells(x, layout), x[1:])


def test_the_known_shape_has_the_distance_it_says() -> None:
    assert shapes.error(lambda x: 0 * x[:, 0]) > 1e-3

    def centre_away(x):
        return ((x - shapes.CENTRE) ** 2).sum(1) ** 0.5

    def exact(x):
        return centre_away(x) - shapes.radius((x - shapes.CENTRE) / centre_away(x)[:, None])[:, 0]

    assert shapes.error(exact) < 1e-6
