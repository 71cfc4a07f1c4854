"""One helper chooses the device (stages/core/devices.py), so AMD, Apple and no GPU run the same code: only adapters name CUDA."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from stages.core import devices
from stages.core.errors import StageError

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = {
    "stages/core/devices.py": "the helper itself",
    "stages/surface/device/cuda_graphs.py": "CUDA graphs exist nowhere else",
    "stages/depth/config.py": "the name of a provider of onnxruntime",
    "stages/depth/onnx_memory.py": "onnxruntime's providers other than the CPU's are CUDA's",
    "stages/depth/onnx_session.py": "providers of onnxruntime",
}
NAMES = ("cuda", "mps", "hip", "rocm")


def names_a_device(path: Path) -> list[str]:
    """Lines that call `.cuda()`, read `torch.cuda...` or hold a device's name as a string."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("cuda", "mps"):
            found.append(f"{node.lineno}: .{node.func.attr}()")
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "torch"
            and node.attr in NAMES
        ):
            found.append(f"{node.lineno}: torch.{node.attr}")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.partition(":")[0] in NAMES:
            found.append(f"{node.lineno}: {node.value!r}")
    return found


def test_no_file_but_adapters_names_a_device() -> None:
    found = {}
    for path in [*ROOT.glob("stages/**/*.py"), *ROOT.glob("flows/**/*.py")]:
        name = path.relative_to(ROOT).as_posix()
        if name not in ADAPTERS and (lines := names_a_device(path)):
            found[name] = lines
    assert not found, "take the device from stages.core.devices: " + str(found)


def test_adapters_are_still_there_and_still_need_to_be_listed() -> None:
    for name in ADAPTERS:
        assert names_a_device(ROOT / name), f"{name} names no device any more: take it off the list"


def test_the_check_sees_each_way_of_naming_one(tmp_path) -> None:
    for line in ("x.cuda()", "torch.cuda.is_available()", "x.to('cuda:1')", "device = 'mps'"):
        (tmp_path / "a.py").write_text(line)
        assert names_a_device(tmp_path / "a.py"), line
    (tmp_path / "a.py").write_text("'cudart is a library'; y.cudaless; torch.cpu")
    assert not names_a_device(tmp_path / "a.py")


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_helper_takes_what_torch_has(monkeypatch, cuda: bool, mps: bool, best: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.best_device() == best
    assert devices.torch_device("cpu").type == "cpu" and devices.torch_device().type == best
    if not cuda:
        with pytest.raises(StageError, match="cannot use the device 'cuda'"):
            devices.torch_device("cuda")


def test_without_a_driver_torch_is_not_asked(monkeypatch) -> None:
    monkeypatch.setattr(devices, "driver_there", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    assert not devices.has_cuda()
    assert devices.free_memory(torch.device("cpu")) > 1e6
