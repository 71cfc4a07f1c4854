"""A capture that failed three nights in a row for one reason is set aside, told, and taken back."""

from __future__ import annotations

import json
import os
import time

import pytest

from flows.captures.ready import ready_captures
from flows.captures.set_aside import night_of, why_set_aside
from flows.cli import main as cli
from flows.records.run_record import RunRecords, StageRecord
from flows.run.metrics import Figures
from tests.flows.conftest import make_capture

DAY_S = 86400.0


@pytest.fixture
def capture(toy, monkeypatch):
    """A READY capture that was marked ten days ago, in the captures folder."""
    monkeypatch.setenv("TWIN_CAPTURES", str(toy.folder / "captures"))
    monkeypatch.setenv("TWIN_TWINS", str(toy.folder / "twins"))
    folder = make_capture(toy.folder / "captures" / "cup")
    (folder / "READY").touch()
    os.utime(folder / "READY", (time.time() - 10 * DAY_S,) * 2)
    return ready_captures(toy.folder / "captures")[0]


def _failed(toy, capture, days_ago: float, error: str, state: str = "failed", stage: str = "c") -> None:
    records = RunRecords(toy.store)
    request = {"capture": str(capture.path), "out": "/twin", "profile": "standard", "settings": []}
    record = records.new(request, ["a", "b", "c", "d"])
    record.started, record.state, record.error = time.time() - days_ago * DAY_S, state, error
    record.stages[stage] = StageRecord(state=state if state != "interrupted" else "interrupted")
    records.save(record)


def _note(toy, capture) -> str:
    return why_set_aside(capture, RunRecords(toy.store).of_capture(capture.path))


def test_three_nights_for_one_reason_and_it_is_told(toy, capture, capsys):
    for days, error in ((3, "frame 17 of 40 is dark"), (2, "frame 18 of 40 is dark")):
        _failed(toy, capture, days, error)
    assert _note(toy, capture) == ""
    _failed(toy, capture, 1, "frame 3 of 40 is dark")
    assert "3 nights in a row" in _note(toy, capture) and "frame 3 of 40" in _note(toy, capture)
    assert "twin_captures_set_aside 1.0" in Figures(toy.store).text()
    cli.main(["status", "--json"])
    assert any("set aside" in n and "twin resume" in n for n in json.loads(capsys.readouterr().out)["notes"])


def test_one_night_with_three_tries_is_one_night(toy, capture):
    for k in range(3):
        _failed(toy, capture, 2 + k * 1e-4, "dark")
    assert _note(toy, capture) == ""


@pytest.mark.parametrize(
    ("state", "stage", "error"), [("failed", "b", "dark"), ("failed", "c", "no space left"), ("done", "c", "")]
)
def test_another_reason_or_a_run_that_went_well_takes_it_back(toy, capture, state, stage, error):
    for days in (4, 3, 2):
        _failed(toy, capture, days, "dark")
    assert _note(toy, capture)
    _failed(toy, capture, 1, error, state, stage)
    assert _note(toy, capture) == ""


def test_what_a_person_ended_is_no_word_on_the_capture_and_a_new_marker_is_a_new_capture(toy, capture):
    for days in (4, 3, 2):
        _failed(toy, capture, days, "dark")
    _failed(toy, capture, 1, "interrupted", "interrupted")
    assert _note(toy, capture)
    (capture.path / "READY").touch()
    assert (
        why_set_aside(ready_captures(toy.folder / "captures")[0], RunRecords(toy.store).of_capture(capture.path)) == ""
    )


def test_a_night_goes_from_noon_to_noon():
    noon = time.mktime((2026, 11, 28, 12, 0, 0, 0, 0, -1))
    assert night_of(noon + 60) == night_of(noon + 23 * 3600) == "2026-11-28" and night_of(noon - 60) == "2026-11-27"
