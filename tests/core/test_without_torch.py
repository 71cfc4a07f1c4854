"""Without torch (extra `torch`): what needs it is refused before any work and says how to get it; the rest does not ask for it."""

from __future__ import annotations

import sys

import pytest

from flows.cli import main as cli
from stages.base import Stage, StageContext, run_stage
from stages.core import devices
from stages.core.backends import check_torch
from stages.core.errors import MachineError
from stages.core.store import Store
from stages.package.config import PackageConfig
from tests.flows.tiny import render_base, write_tiny


@pytest.fixture
def no_torch(monkeypatch):
    """As Python sees it where torch is not installed."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(devices, "find_spec", lambda name: None)


def test_no_device_is_looked_for(no_torch, monkeypatch):
    monkeypatch.setattr(devices, "driver_there", lambda: True)
    assert not devices.has_cuda() and devices.best_device() == "cpu"
    with pytest.raises(MachineError, match=r"a network needs torch") as error:
        check_torch("a network")
    assert "pip install 'stereotwin[torch]'" in error.value.advice


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny(render_base(folder / "base"), folder / "capture", 0)


@pytest.mark.parametrize("setting", ["surface.backend=torch", "texture.refine=raycast"])
def test_a_setting_that_needs_it_is_refused_before_any_work(setting, capture, no_torch, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    assert cli.main(["reconstruct", str(capture), "--out", str(tmp_path / "twin"), "--no-prefect", setting]) == 5
    told = capsys.readouterr()
    assert f"{setting} needs torch" in told.err and "pip install 'stereotwin[torch]'" in told.err
    assert not list((tmp_path / "store").glob("artifacts/*/*"))


class Asks(Stage):
    """A stage that finds out in the middle of its work."""

    name, version, inputs, outputs, Config = "asks", 1, (), ("out.txt",), PackageConfig

    def check(self, inputs, config) -> None:
        pass

    def run(self, inputs, config, out, context):
        import torch

        raise AssertionError(torch)


def test_a_stage_that_misses_it_says_how_to_get_it(no_torch, tmp_path):
    with pytest.raises(MachineError, match="asks needs torch") as error:
        run_stage(Asks(), {}, PackageConfig(), Store(tmp_path), StageContext())
    assert "pip install 'stereotwin[torch]'" in error.value.advice
