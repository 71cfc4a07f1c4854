"""Whole runs that share one GPU: stages that need it take turns, the others go on meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from flows.run.stage_process import StageJob, run_stage_in_child
from stages.core.capture import capture_ref
from tests.flows import gpu_stages
from tests.flows.conftest import Toy, make_capture, wait_for
from tests.flows.toy_stages import ToyConfig


class _Run(threading.Thread):
    """All stages of one capture, each in its child."""

    def __init__(self, toy: Toy, capture: Path) -> None:
        super().__init__(daemon=True)
        self._store, self._refs = toy.store, {"capture": capture_ref(capture)}
        self.notes: list[str] = []
        self.done: list[str] = []

    def run(self) -> None:
        job = StageJob(self._store, progress=lambda done, total, note: self.notes.append(note))
        for stage in gpu_stages.stages():
            self._refs |= run_stage_in_child(stage, self._refs, ToyConfig(), job).refs
            self.done.append(stage.name)


@pytest.fixture
def gpu(toy, monkeypatch) -> Toy:
    """The toy pipeline with a GPU that only these tests use."""
    monkeypatch.setenv("TWIN_STAGES", "tests.flows.gpu_stages:stages")
    monkeypatch.setenv("TWIN_GPU_LOCK", str(toy.folder / "gpu.lock"))
    return toy


def test_one_stage_on_the_gpu_while_stages_of_other_runs_go_on(gpu):
    first, second = _Run(gpu, gpu.capture), _Run(gpu, _other(gpu, "other"))
    first.start()
    gpu.wait_started("b")
    second.start()
    wait_for(lambda: "a" in second.done)  # on the CPU, while the first run holds the GPU
    wait_for(lambda: any("another run uses the GPU" in n for n in second.notes))
    assert gpu.counts()["b"] == 1 and not {"b", "c"} & {*first.done, *second.done}
    (gpu.folder / "release").touch()
    for run in (first, second):
        run.join(60)
        assert run.done == ["a", "b", "c", "d"]


def _other(toy: Toy, name: str) -> Path:
    path = make_capture(toy.folder / name)
    (path / "text").write_text(name)
    (path / "calibration.json").write_text(f'{{"name": "{name}"}}')
    return path
