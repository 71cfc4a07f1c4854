"""What is said of optional libraries: working, missing, broken, useless without a GPU; and the command that mends each."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from stages.core import backends
from stages.core.backends import KITS, Kit


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, and nothing remembered of this one."""
    monkeypatch.setattr(backends, "has_cuda", lambda: True)
    monkeypatch.setattr(backends, "driver_there", lambda: True)
    backends._problem.cache_clear()
    yield
    backends._problem.cache_clear()


def installed(monkeypatch, module: ModuleType | None) -> Kit:
    """A kit whose package metadata is there; module None = importing it fails."""
    monkeypatch.setattr(backends.metadata, "version", lambda name: "1.2")
    monkeypatch.setitem(sys.modules, "a_kit", module)
    return Kit("a kit", "a_kit", "a-kit", "a method", "make it", gpu=True)


def test_a_working_kit_says_its_version_and_what_it_serves(gpu, monkeypatch) -> None:
    kit = installed(monkeypatch, ModuleType("a_kit"))
    assert kit.problem() == "" and kit.says() == "yes, 1.2 (a method)"


def test_a_broken_one_says_why_and_how_to_mend_it(gpu, monkeypatch) -> None:
    kit = installed(monkeypatch, None)
    assert "does not import" in kit.problem() and "; make it (a method)" in kit.says()


def test_a_missing_one_names_its_command(gpu) -> None:
    kit = Kit("none", "no_such_module", "no-such-package", "a method", "pip install it")
    assert kit.says() == "no: not installed; pip install it (a method)"


def test_a_further_check_counts(gpu, monkeypatch) -> None:
    monkeypatch.setattr(backends.metadata, "version", lambda name: "1.2")
    kit = Kit("half", "json", "half", "a method", "mend it", more=lambda: "the other half is missing")
    assert kit.says() == "no: the other half is missing; mend it (a method)"


def test_without_a_gpu_nothing_is_imported_and_no_command_is_offered(monkeypatch) -> None:
    monkeypatch.setattr(backends, "has_cuda", lambda: False)
    monkeypatch.setattr(backends, "driver_there", lambda: False)
    backends._problem.cache_clear()
    for kit in (k for k in KITS.values() if k.gpu):
        assert "no GPU here" in kit.problem() and kit.command not in kit.says()
    backends._problem.cache_clear()


def test_a_gpu_that_torch_cannot_use_is_told_with_the_command(monkeypatch) -> None:
    monkeypatch.setattr(backends, "has_cuda", lambda: False)
    monkeypatch.setattr(backends, "driver_there", lambda: True)
    monkeypatch.setattr("torch.version.cuda", None)
    backends._problem.cache_clear()
    said = KITS["torch on the GPU"].says()
    assert "is a CPU build" in said and "make setup" in said
    backends._problem.cache_clear()


def test_triton_needs_a_c_compiler(monkeypatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)
    assert "no C compiler" in backends._c_compiler()
    monkeypatch.setattr(backends.shutil, "which", lambda name: "/usr/bin/gcc")
    assert backends._c_compiler() == ""
