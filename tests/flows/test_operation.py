"""The parts of operation that need no server: arriving captures, places, the form's meaning, lost runs, turns on a GPU."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.places import capture_folder, twin_folder
from flows.ready import ready_captures
from flows.request import Reconstruction
from flows.run_record import RunRecords
from stages.core.errors import CaptureError
from stages.core.store import Store
from tests.flows.conftest import REPOSITORY, make_capture


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TWIN_CAPTURES", str(tmp_path / "captures"))
    monkeypatch.setenv("TWIN_TWINS", str(tmp_path / "twins"))
    return tmp_path


def test_ready_captures_are_found_at_any_level_and_only_with_their_marker(places):
    root = places / "captures"
    for name in ("b", "2026/a", "unfinished"):
        make_capture(root / name)
        if name != "unfinished":
            (root / name / "READY").touch()
    found = ready_captures(root)
    assert [c.name for c in found] == ["2026/a", "b"]
    os.utime(root / "b" / "READY", (1, 1))
    again = ready_captures(root)
    assert again[0].key == found[0].key and again[1].key != found[1].key       # made anew: another capture
    with pytest.raises(CaptureError, match="is not a folder"):
        ready_captures(places / "nowhere")


def test_places(places):
    assert capture_folder("2026/a") == places / "captures" / "2026" / "a"
    assert capture_folder("/elsewhere/a") == Path("/elsewhere/a")
    with pytest.raises(CaptureError, match="is not below"):
        capture_folder("../../etc")
    assert twin_folder(places / "captures" / "2026" / "a") == places / "twins" / "2026" / "a"
    assert twin_folder(Path("/x/a")) != twin_folder(Path("/y/a"))


def test_the_form_means_a_request(places):
    """In a process of its own, because the form is built from the stages when it is imported."""
    code = """
from flows.form import Box, Methods, request_of
r = request_of("cup", "preview", Methods(b="fancy"), Box(left=1, top=2, right=3, bottom=4), "c", False, ["b.steps=4"], 2.0)
assert r.settings == ("b.method=fancy", "b.steps=4") and r.overrides()[0] == "rectify.box=[1,2,3,4]", r
assert r.capture.endswith("captures/cup") and r.out.endswith("twins/cup") and r.time_limit_s == 120 and r.start_from == "c"
"""
    env = {**os.environ, "TWIN_STAGES": "tests.flows.toy_stages:stages", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_every_real_stage_with_a_choice_has_a_dropdown():
    from flows.form import Methods, StageName

    fields = Methods.model_json_schema()["properties"]
    assert {"depth", "masks"} <= set(fields) and "auto" in fields["depth"]["enum"]
    assert len(StageName) == 8


class _Client:
    """The two calls of `recover`."""

    def __init__(self, *runs: SimpleNamespace) -> None:
        self.runs, self.set = runs, []

    def read_flow_runs(self, flow_run_filter) -> tuple:
        return self.runs

    def set_flow_run_state(self, run_id, state, force) -> None:
        self.set.append((run_id, state.name))


def _flow_run(name: str, seconds_ago: float, run_count: int, pending: bool = False) -> SimpleNamespace:
    state = SimpleNamespace(timestamp=datetime.now(UTC) - timedelta(seconds=seconds_ago), is_pending=lambda: pending)
    return SimpleNamespace(id=name, name=name, state=state, deployment_id="d", run_count=run_count)


def test_lost_runs_are_brought_back_and_healthy_ones_left_alone(tmp_path):
    from flows.recovery import recover

    store = Store(tmp_path)
    records, holds = RunRecords(store), []
    for name in ("alive", "dead", "dead-again", "fresh", "elsewhere"):
        record = records.new(Reconstruction(capture="/c", out="/o").model_dump(mode="json"), ["a"], flow_run=name)
        record.host = "other" if name == "elsewhere" else socket.gethostname()
        records.save(record)
        if name == "alive":
            holds.append(records.hold(record))
    client = _Client(_flow_run("alive", 500, 1), _flow_run("dead", 500, 1), _flow_run("dead-again", 500, 3), _flow_run("fresh", 5, 1),
                     _flow_run("elsewhere", 500, 1), _flow_run("unknown", 500, 1), _flow_run("stuck", 500, 0, pending=True),
                     _flow_run("submitting", 20, 0, pending=True))
    assert len(recover(client, store)) == 3
    assert client.set == [("dead", "AwaitingRetry"), ("dead-again", "Crashed"), ("stuck", "AwaitingRetry")]
    holds[0].close()


def test_gpu_stages_take_turns(tmp_path):
    """Three processes that each hold the GPU for a while never overlap, and a killed one gives it back."""
    code = ("import sys, time; from flows.stage_child import my_turn_on, Messages\n"
            "with my_turn_on('cuda', Messages(open('/dev/null', 'w'))):\n"
            "    print('in', time.monotonic(), flush=True); time.sleep(float(sys.argv[1])); print('out', time.monotonic(), flush=True)")
    env = {**os.environ, "TWIN_GPU_LOCK": str(tmp_path / "gpu.lock"), "PYTHONPATH": str(REPOSITORY)}
    start = lambda seconds: subprocess.Popen([sys.executable, "-c", code, seconds], stdout=subprocess.PIPE, text=True, env=env)  # noqa: E731
    killed = start("60")
    killed.stdout.readline()
    others = [start("0.3") for _ in range(3)]
    time.sleep(0.5)
    killed.kill()
    killed.communicate()
    spans = sorted(tuple(float(line.split()[1]) for line in p.communicate(timeout=30)[0].splitlines()) for p in others)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
