"""The parts of operation that need no server: arriving captures, places, the form's meaning, turns on a GPU."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.captures.ready import ready_captures
from flows.records.places import capture_folder, twin_folder
from stages.core.errors import CaptureError
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
    assert again[0].key == found[0].key and again[1].key != found[1].key  # made anew: another capture
    with pytest.raises(CaptureError, match="is not a folder"):
        ready_captures(places / "nowhere")


def test_done_is_what_has_a_twin_of_its_settings_even_when_its_records_are_forgotten(places, toy):
    from flows.captures.ready import not_done
    from flows.cli import main as cli
    from flows.records.run_record import RunRecords

    root, records = places / "captures", RunRecords(toy.store)
    for name in ("cup", "jug"):
        (make_capture(root / name) / "READY").touch()

    def make(name, *more):
        return cli.main(["reconstruct", str(root / name), "--out", str(places / "twins" / name), "--no-prefect", *more])

    def due(profile="standard", settings=()):
        return [c.name for c in not_done(ready_captures(root), profile, settings, records)]

    assert due() == ["cup", "jug"] and make("cup") == 0
    assert due() == ["jug"] and due("quality") == due(settings=["b.gain=2"]) == ["cup", "jug"]
    assert make("cup", "--profile", "quality") == 0 and due() == due("quality") == [
        "jug"
    ]  # the record of the first still counts
    for record in records.all():
        records.remove(record.id)
    assert due("quality") == due() == ["jug"] and due(settings=["b.gain=2"]) == ["jug"]  # better than asked for
    os.utime(root / "cup" / "READY", (time.time() + 60,) * 2)
    assert due("quality") == ["cup", "jug"]  # made anew


def test_a_lesser_twin_never_takes_the_place_of_a_better_one_and_a_better_one_does(places, toy):
    from flows.captures.ready import not_done
    from flows.cli import main as cli
    from flows.records.run_record import RunRecords

    capture = make_capture(places / "captures" / "cup")
    (capture / "READY").touch()
    place, beside = places / "twins" / "cup", places / "twins" / "cup.preview"

    def profile(twin):
        return json.loads((twin / "run.json").read_text())["profile"]

    def make(name, out=place):
        return cli.main(["reconstruct", str(capture), "--out", str(out), "--no-prefect", "--profile", name])

    def due(name):
        return [c.name for c in not_done(ready_captures(places / "captures"), name, (), RunRecords(toy.store))]

    assert make("preview") == 0 and profile(place) == "preview" and due("standard") == ["cup"]
    assert make("standard") == 0 and profile(place) == "standard" and due("preview") == []
    assert (
        make("preview") == 0
        and profile(place) == "standard"
        and profile(beside) == "preview"
        and (beside / "run.log").is_file()
    )
    assert RunRecords(toy.store).of_capture(capture)[0].request["out"] == str(beside)
    assert (
        make("standard", places / "mine") == make("preview", places / "mine") == 0
        and profile(places / "mine") == "preview"
    )
    (capture / "left" / "000000.png").write_bytes(b"another picture")
    assert make("preview") == 0 and profile(place) == "preview"  # another capture by now


def test_places(places):
    assert capture_folder("2026/a") == places / "captures" / "2026" / "a"
    assert capture_folder("/elsewhere/a") == Path("/elsewhere/a")
    with pytest.raises(CaptureError, match="is not below"):
        capture_folder("../../etc")
    assert twin_folder(places / "captures" / "2026" / "a") == places / "twins" / "2026" / "a"
    assert twin_folder(Path("/x/a")) != twin_folder(Path("/y/a"))
    for name in (".", "", "2026/..", "./"):  # its twin would be the folder of all twins
        with pytest.raises(CaptureError, match="is not below"):
            capture_folder(name)
    for path in (places / "captures", places / "captures" / "."):
        with pytest.raises(CaptureError, match="folder of all captures"):
            twin_folder(path)


def test_the_form_means_a_request(places):
    """In a process of its own, because the form is built from the stages when it is imported."""
    code = """
from flows.ui.form import Box, Methods, request_of
from stages.core.errors import ConfigError
r = request_of("cup", Methods(b="fancy"), Box(left=1, top=2, right=3, bottom=4), ["b.steps=4"], 2.0, profile="preview", start_from="c")
assert r.settings == ("b.method=fancy", "b.steps=4") and r.overrides()[0] == "rectify.box=[1,2,3,4]", r
assert Box().edges is None and request_of("cup", Methods(), Box(), [], None).box is None
try:
    Box(left=1, top=2).edges
except ConfigError as e:
    assert "only left, top" in e.message
else:
    raise AssertionError("half a box was taken")
assert r.capture.endswith("captures/cup") and r.out.endswith("twins/cup") and r.time_limit_s == 120 and r.start_from == "c"
"""
    env = {**os.environ, "TWIN_STAGES": "tests.flows.toy_stages:stages", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_every_real_stage_with_a_choice_has_a_dropdown():
    from flows.ui.form import Methods, StageName
    from stages.graph import every_stage

    fields = Methods.model_json_schema()["properties"]
    assert {"depth", "masks"} <= set(fields) and "auto" in fields["depth"]["enum"]
    assert [s.value for s in StageName] == [s.name for s in every_stage()]


def test_gpu_stages_take_turns(tmp_path):
    """Three processes that each hold the GPU for a while never overlap, and a killed one gives it back."""
    code = (
        "import sys, time; from flows.run.stage_child import my_turn_on, Messages\n"
        "with my_turn_on('cuda', Messages(open('/dev/null', 'w'))):\n"
        "    print('in', time.monotonic(), flush=True); time.sleep(float(sys.argv[1])); print('out', time.monotonic(), flush=True)"
    )
    env = {**os.environ, "TWIN_GPU_LOCK": str(tmp_path / "gpu.lock"), "PYTHONPATH": str(REPOSITORY)}

    def start(seconds):
        return subprocess.Popen([sys.executable, "-c", code, seconds], stdout=subprocess.PIPE, text=True, env=env)

    killed = start("60")
    killed.stdout.readline()
    others = [start("0.3") for _ in range(3)]
    time.sleep(0.5)
    killed.kill()
    killed.communicate()
    spans = sorted(tuple(float(line.split()[1]) for line in p.communicate(timeout=30)[0].splitlines()) for p in others)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_a_retry_before_the_former_process_has_ended_does_not_end_the_worker(monkeypatch):
    import anyio
    from prefect.workers.process import ProcessWorker

    from flows.serve.worker import OneProcessPerRun

    async def submit(self, responses):
        for r in responses:
            self._limiter.acquire_on_behalf_of_nowait(
                r.flow_run.id
            )  # as Prefect's does, which raises for one that holds a place
        return responses

    async def offer() -> list[str]:
        worker = OneProcessPerRun(work_pool_name="pool", limit=3)
        worker._limiter = anyio.CapacityLimiter(3)
        worker._limiter.acquire_on_behalf_of_nowait("ending")
        offered = [SimpleNamespace(flow_run=SimpleNamespace(id=name)) for name in ("ending", "new")]
        return [r.flow_run.id for r in await worker._submit_scheduled_flow_runs(offered)]

    monkeypatch.setattr(ProcessWorker, "_submit_scheduled_flow_runs", submit)
    assert anyio.run(offer) == ["new"]


@pytest.mark.parametrize(
    ("state", "run_count", "again"),
    [
        ("PENDING", 1, False),
        ("RUNNING", 2, False),
        ("CRASHED", 2, False),
        ("SCHEDULED", 2, True),
        ("PENDING", 2, True),
        ("RUNNING", 3, True),
    ],
)
def test_the_worker_says_nothing_of_an_attempt_that_is_over(state, run_count, again):
    from uuid import uuid4

    from prefect.client.schemas.objects import FlowRun, State

    from flows.serve.worker import started_again, told_already

    submitted, number = FlowRun(id=uuid4(), flow_id=uuid4(), run_count=1), uuid4()
    now = FlowRun(id=submitted.id, flow_id=number, run_count=run_count, state=State(type=state))
    assert started_again(submitted, now) is again
    assert told_already(submitted, now) is (again or state == "CRASHED")
