"""A store, a toy capture and the toy pipeline, for tests of what runs stages."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.run.stage_process import StageJob, run_stage_in_child
from flows.run.warm_process import WarmProcess
from stages.base import StageResult
from stages.core.capture import capture_ref
from stages.core.store import ArtifactRef, Store
from tests.flows import toy_stages

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Toy:
    """The toy pipeline on one capture and one store."""

    folder: Path
    store: Store
    capture: Path
    warm: WarmProcess | None = None

    def order(self, stage: str, what: str) -> None:
        """Make a stage misbehave; "" mends it."""
        (self.folder / f"{stage}.do").write_text(what)

    def counts(self) -> dict[str, int]:
        """How often each stage ran so far."""
        return {s.name: len(self._pids(s.name)) for s in toy_stages.stages()}

    def _pids(self, stage: str) -> list[int]:
        path = self.folder / f"{stage}.count"
        return [int(x) for x in path.read_text().split()] if path.exists() else []

    def wait_started(self, stage: str, times: int = 1) -> int:
        """Wait until the stage has been started so often; the process id of the last start."""
        return wait_for(lambda: len(self._pids(stage)) >= times and self._pids(stage)[-1])

    def run(self, configs: Mapping[str, toy_stages.ToyConfig] | None = None, **job) -> dict[str, StageResult]:
        """All stages in order, each in its child."""
        refs: dict[str, ArtifactRef] = {"capture": capture_ref(self.capture)}
        results = {}
        for stage in toy_stages.stages():
            config = (configs or {}).get(stage.name, toy_stages.ToyConfig())
            results[stage.name] = run_stage_in_child(stage, refs, config, StageJob(self.store, warm=self.warm, **job))
            refs |= results[stage.name].refs
        return results


def wait_for(condition: Callable, seconds: float = 30.0):
    """The condition's first true value; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail(f"waited {seconds:.0f} s in vain")


def lose_locks(folder: Path) -> None:
    """What a file server does with the locks of a machine that is silent: the files stay, the locks are gone. Same content, other inode."""
    for path in (*folder.rglob("*.lock"), *folder.rglob("*.lease")):
        copy = path.with_name(f"{path.name}.copy")
        shutil.copy2(path, copy)
        copy.replace(path)


def make_capture(folder: Path) -> Path:
    """The least that passes for a capture, plus the text that the toy stages read."""
    for side in ("left", "right"):
        (folder / side).mkdir(parents=True, exist_ok=True)
        (folder / side / "000000.png").write_bytes(side.encode())
    (folder / "calibration.json").write_text("{}")
    (folder / "text").write_text("capture ")
    return folder


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A fresh toy pipeline."""
    monkeypatch.setenv("TOY_FOLDER", str(tmp_path))
    monkeypatch.setenv("TWIN_STAGES", "tests.flows.toy_stages:stages")
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TWIN_SETTLE_S", "0.2")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return Toy(tmp_path, Store(tmp_path / "store"), make_capture(tmp_path / "capture"))


@pytest.fixture(scope="module")
def s3_server():
    """A real S3 server for one file of tests."""
    from tests.core.s3_server import S3Server

    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def fresh_s3(s3_server, monkeypatch: pytest.MonkeyPatch):
    """The same, emptied, with its address and keys in the environment; no store is there."""
    s3_server.empty()
    for name, value in s3_server.environment.items():
        if name != "TWIN_STORE_S3":
            monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium without a window, for the whole session. Skips, or fails in .ci/run, where it is not installed."""
    from tests.flows.browser import Browser

    window = Browser(tmp_path_factory.mktemp("chromium"))
    yield window
    window.close()


@pytest.fixture(autouse=True)
def _page_left(request: pytest.FixtureRequest):
    """No page stays open behind a test: one that moves takes a quarter of a core from all that come after."""
    yield
    if "browser" in request.fixturenames:
        request.getfixturevalue("browser").leave()
