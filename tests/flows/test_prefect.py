"""The flow under Prefect: states, artifacts, errors; and the embedded server of the command line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.records.request import Reconstruction
from flows.run.run import Beside
from flows.serve.session import reconstruct_here
from flows.web.embedded_server import EmbeddedServer, ServerUnavailable, answers
from stages.core.errors import CaptureError, TwinError

ONCE = {"a": 1, "b": 1, "c": 1, "d": 1}


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """One throw-away Prefect server for all tests, without its heartbeat thread."""
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=60), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture
def request_(toy) -> Reconstruction:
    return Reconstruction(capture=str(toy.capture), out=str(toy.folder / "twin"))


def _task_states(state) -> dict[str, str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [state.state_details.flow_run_id]}))
    return {r.name: r.state.name for r in runs}


def _eventually(function, expected, seconds=20.0):
    """Prefect records task runs a moment after they happen."""
    from tests.flows.conftest import wait_for

    wait_for(lambda: function() == expected, seconds)


def test_states_say_what_came_from_the_store(toy, request_, prefect_server):
    from flows.reconstruct import reconstruct_capture

    first = reconstruct_capture(request_, return_state=True)
    assert first.is_completed() and first.result() == str(toy.folder / "twin")
    again = reconstruct_capture(request_, return_state=True)
    assert again.is_completed() and toy.counts() == ONCE
    _eventually(lambda: _task_states(first), dict.fromkeys("abcd", "Completed"))
    _eventually(lambda: _task_states(again), dict.fromkeys("abcd", "Cached"))


def test_a_failed_stage_fails_the_flow_with_its_words(toy, request_, prefect_server):
    from flows.reconstruct import reconstruct_capture

    toy.order("c", "raise")
    with pytest.raises(CaptureError) as error:
        reconstruct_capture(request_)
    assert error.value.advice == "copy it again"
    toy.order("c", "kill 9")
    state = reconstruct_capture(request_, return_state=True)
    assert state.is_failed() and "killed by the system" in state.message
    toy.order("c", "")
    reconstruct_capture(request_)
    assert toy.counts() == {**ONCE, "c": 3}


def test_artifacts_hold_figures_and_pictures(toy, request_, prefect_server):
    from prefect.artifacts import Artifact

    from flows.reconstruct import reconstruct_capture

    reconstruct_capture(request_)
    text = Artifact.get("b-report").data
    assert "| length | " in text and " px |" in text and "toy warning" in text


def test_pictures_are_inlined_up_to_a_size(tmp_path):
    from flows.ui.artifacts import stage_markdown

    (tmp_path / "small.jpg").write_bytes(b"\xff\xd8small")
    (tmp_path / "large.png").write_bytes(b"x" * 200_000)
    report = {
        "method": "sgm",
        "reason": "no weights",
        "metrics": {"error_px": 0.123456},
        "warnings": ["dark"],
        "frames": {"ok": 3},
        "pictures": [("Depth", "small.jpg"), ("Large", "large.png")],
    }
    text = stage_markdown("depth", {"report": report, "seconds": 1.0, "peak_memory_mb": 5}, tmp_path)
    assert "data:image/jpeg;base64,/9hzbWFsbA==" in text and "too large" in text
    assert "| error | 0.1235 px |" in text and "| frames ok | 3 |" in text
    assert text.index("- dark") < text.index("Method")


@pytest.mark.slow
def test_embedded_servers_do_not_meet(toy):
    """Two runs at once, each with a server of its own; then one that is all cached."""
    command = [sys.executable, "-m", "flows.cli", "reconstruct", str(toy.capture), "--out"]

    def run(k: int) -> subprocess.CompletedProcess:
        return subprocess.run([*command, str(toy.folder / f"twin{k}")], capture_output=True, text=True, timeout=400)

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(run, range(2)):
            assert done.returncode == 0, done.stderr
            assert "Prefect" not in done.stderr and "INFO" not in done.stderr and "locked" not in done.stderr
    assert toy.counts() == ONCE and len(list((toy.store.root / "prefect").iterdir())) == 2
    assert run(0).returncode == 0 and len(list((toy.store.root / "prefect").iterdir())) == 2


def test_without_a_server_the_run_goes_on_and_says_so(toy, request_, monkeypatch):
    monkeypatch.setattr(
        EmbeddedServer, "wait_ready", lambda self: (_ for _ in ()).throw(ServerUnavailable("no loopback"))
    )
    said = []
    assert reconstruct_here(request_, Beside(), said.append) == str(toy.folder / "twin")
    assert "no loopback" in said[0] and "goes on without it" in said[0] and toy.counts() == ONCE


def test_a_named_server_that_is_dead_is_an_error(toy, request_, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(TwinError, match="no Prefect server answers"):
        reconstruct_here(request_, Beside(), logging.info)


def test_the_embedded_server_dies_with_its_parent(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from flows.web.embedded_server import EmbeddedServer\n"
        "s = EmbeddedServer(Path(sys.argv[1])); print(s._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    server = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    from tests.flows.conftest import wait_for
    from tests.flows.test_stage_process import _alive

    wait_for(lambda: not _alive(server))
    assert not answers("http://127.0.0.1:9/api", 0.2)
