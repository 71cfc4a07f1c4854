"""The batch without a server: which runs it starts, how it follows them, what its page says."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
import pytest

from flows.captures.ready import ReadyCapture
from flows.flow_run import batch_runs
from flows.ui.batch_page import Outcome, write_summary


class _Server:
    """Runs by idempotency key, each of which ends when it has been asked for twice; `outages` calls fail first."""

    def __init__(self) -> None:
        self.keys: dict[str, UUID] = {}
        self.states: dict[UUID, str] = {}
        self.asked: Counter[UUID] = Counter()
        self.most_under_way, self.outages, self.fate = 0, 0, {}

    async def start(self, name, client, parameters, timeout, idempotency_key, tags):
        self._maybe_down()
        known = idempotency_key in self.keys
        number = self.keys.setdefault(idempotency_key, uuid4())
        if not known:
            self.states[number] = "Scheduled"
            self.fate[number] = "Failed" if "bad" in parameters["capture"] else "Completed"
        self.most_under_way = max(self.most_under_way, sum(s == "Scheduled" for s in self.states.values()))
        return self._run(number)

    async def read_flow_runs(self, flow_run_filter, limit):
        self._maybe_down()
        numbers = flow_run_filter.id.any_
        assert len(numbers) <= min(limit, 200)  # what Prefect's API gives at a time
        for number in numbers:
            self.asked[number] += 1
            if self.asked[number] == 2:
                self.states[number] = self.fate[number]
        return [self._run(n) for n in numbers if self.states[n] != "gone"]

    def _maybe_down(self) -> None:
        if self.outages:
            self.outages -= 1
            raise httpx.ConnectError("down")

    def _run(self, number: UUID) -> SimpleNamespace:
        name = self.states[number]
        final, fine = name != "Scheduled", name == "Completed"
        state = SimpleNamespace(name=name, message="out of luck", is_final=lambda: final, is_completed=lambda: fine)
        return SimpleNamespace(id=number, state=state, total_run_time=timedelta(seconds=7))


@pytest.fixture
def server(monkeypatch, tmp_path) -> _Server:
    fake = _Server()
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))

    @asynccontextmanager
    async def client():
        yield fake

    monkeypatch.setattr(batch_runs, "get_client", client)
    monkeypatch.setattr(batch_runs, "arun_deployment", fake.start)
    monkeypatch.setattr(batch_runs, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr(batch_runs, "get_run_logger", lambda: logging.getLogger("test"))
    return fake


def _captures(*names: str) -> list[ReadyCapture]:
    return [ReadyCapture(Path("/captures") / n, n, n) for n in names]


def _outcomes(captures, attempt: int = 1, again: bool = False) -> dict[str, Outcome]:
    async def collect() -> list[Outcome]:
        runs = batch_runs.BatchRuns(captures, "standard", (), "batch", attempt, again)
        return [o async for o in runs.outcomes()]

    found = asyncio.run(collect())
    assert len(found) == len(captures)
    return {o.name: o for o in found}


def test_a_thousand_captures_are_started_once_each_and_a_few_at_a_time(server):
    server.outages = 3
    names = [f"c{k}" for k in range(999)] + ["bad"]
    found = _outcomes(_captures(*names))
    assert len(server.keys) == 1000 and server.most_under_way <= batch_runs.AT_ONCE
    assert Counter(o.status for o in found.values()) == {"Completed": 999, "Failed": 1}
    assert found["bad"].reason == "out of luck" and found["bad"].bad and found["c1"].seconds == 7.0


def test_a_run_that_is_under_way_is_joined_and_one_that_ended_is_tried_once_more_per_attempt(server):
    captures = _captures("cup")
    _outcomes(captures)  # the watcher's run, say; it ended, but the twin is gone
    assert len(server.keys) == 1
    _outcomes(captures)
    assert len(server.keys) == 2  # so the batch tries with a key of its own
    _outcomes(captures, attempt=2)  # Retry of the batch
    assert len(server.keys) == 3
    _outcomes(captures, attempt=3, again=True)  # the plain key is left out, and two of the batch's own have ended
    assert len(server.keys) == 4
    server.states[server.keys[next(reversed(server.keys))]] = "Scheduled"
    server.asked.clear()
    _outcomes(captures, attempt=4)  # brought back after a crash: what was started before it still runs
    assert len(server.keys) == 4


def test_a_deleted_run_does_not_hold_up_the_batch(server):
    captures = _captures("cup", "jug")
    server.fate = _Fates("gone")
    found = _outcomes(captures)
    assert {o.status for o in found.values()} == {"deleted"}


class _Fates(dict):
    def __init__(self, fate: str) -> None:
        self._fate = fate

    def __getitem__(self, key) -> str:
        return self._fate


def test_the_page_shows_failures_first_and_figures(tmp_path):
    twin = tmp_path / "twins" / "cup"
    twin.mkdir(parents=True)
    metrics = {"bundle": {"rms_px": 0.2134}, "texture": {"psnr_db": 31.26}, "package": {"size_mm": "70 x 200 x 90"}}
    stages = {"track": {"frames": {"ok": 38, "lost": 2}}, **{k: {"metrics": v} for k, v in metrics.items()}}
    (twin / "run.json").write_text(json.dumps({"schema_version": 1, "stages": stages}))
    (twin / "report.html").write_text("report")
    bad = Outcome("<jug>", "Failed", 3.0, "no pair can be read", capture=str(tmp_path))
    outcomes = [Outcome("cup", "Completed", 61.5, out=str(twin)), bad]
    text = write_summary(outcomes, tmp_path / "twins", under_way=2).read_text()
    assert text.index("&lt;jug&gt;") < text.index("cup/report.html") and "no pair can be read" in text
    assert all(
        x in text
        for x in ("38 of 40", "0.21", "31.26", "70 x 200 x 90", "61.5", "1 failed, 1 completed, 2 under way", "refresh")
    )
    assert "refresh" not in write_summary(outcomes, tmp_path / "twins").read_text()
    assert outcomes[0].row()["frames posed"] == "38 of 40" and outcomes[1].row()["reason"] == "no pair can be read"


def test_arrivals_are_started_once_and_as_far_as_there_is_room(tmp_path, monkeypatch):
    from flows.serve import arrivals
    from stages.core.store import Store

    for name in ("TWIN_CAPTURES", "TWIN_TWINS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("TWIN_SETTLE_S", "0")
    started, waiting = [], []
    monkeypatch.setattr(
        arrivals, "run_deployment", lambda name, parameters, **more: started.append(Path(parameters["capture"]).name)
    )
    for k in range(arrivals.AT_ONCE + 7):
        folder = tmp_path / "TWIN_CAPTURES" / f"c{k:03d}"
        folder.mkdir(parents=True)
        (folder / "READY").touch()
    watch = arrivals.Arrivals(SimpleNamespace(read_flow_runs=lambda **more: waiting), Store(tmp_path / "store"))
    watch.look()
    assert len(started) == arrivals.AT_ONCE
    waiting += started
    watch.look()
    assert len(started) == arrivals.AT_ONCE  # those wait for a worker
    waiting.clear()
    watch.look()
    watch.look()
    assert len(started) == len(set(started)) == arrivals.AT_ONCE + 7
