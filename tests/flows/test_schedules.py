"""`twin schedule` against a real `twin serve`: a time that comes starts a real batch, and schedules are seen, kept and removed."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.flows.conftest import make_capture
from tests.flows.served import TOY, Served
from tools.operations.nights import live_through

pytestmark = pytest.mark.slow
NIGHTLY = ("--cron", "0 2 * * *", "--timezone", "Europe/Berlin")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("scheduled"), TOY)
    yield server
    assert server.stop() == 0, server.said()


def _schedule(served: Served, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", "schedule", *words], env=served.env, capture_output=True, text=True
    )


def _schedules(served: Served) -> dict[str, dict]:
    return {s["slug"]: s for s in served.api("/deployments/name/reconstruct-batch/all-ready-captures")["schedules"]}


@pytest.fixture(scope="module")
def tonight(served) -> datetime:
    """The minute, about one ahead, for which a batch of one capture has been scheduled."""
    (make_capture(served.folder / "night" / "cup") / "READY").touch()
    for ahead in (75, 160, 400):  # seconds; the command itself takes long on a busy machine
        due = (datetime.now(UTC) + timedelta(seconds=ahead)).replace(second=0, microsecond=0)
        made = _schedule(
            served,
            "--cron",
            f"{due.minute} {due.hour} * * *",
            "--root",
            str(served.folder / "night"),
            "--name",
            "tonight",
        )
        assert made.returncode == 0 and "there is also" not in made.stdout, made.stderr
        if any(
            datetime.fromisoformat(r["expected_start_time"]) == due for r in _runs(served)
        ):  # the server itself plans once a minute
            return due
    pytest.fail("the server planned no run for the minute of the schedule")


def _runs(served: Served) -> list[dict]:
    """Runs of the batch, the earliest first."""
    asked = {"flows": {"name": {"any_": ["reconstruct-batch"]}}, "sort": "EXPECTED_START_TIME_ASC"}
    return served.api("/flow_runs/filter", asked)


def test_a_schedule_a_minute_ahead_starts_a_real_run(served, tonight):
    run = served.wait(
        lambda: next((r for r in _runs(served) if r["state_name"] in ("Completed", "Failed", "Crashed")), None)
    )
    assert run["state_name"] == "Completed" and run["auto_scheduled"]
    assert datetime.fromisoformat(run["expected_start_time"]) == tonight
    # a worker takes what is due within the next second, too
    assert datetime.fromisoformat(run["start_time"]) >= tonight - timedelta(seconds=2)
    assert len(list(served.twins.glob("cup-*/run.json"))) == 1
    assert "Can't evaluate" not in (served.store / "prefect" / "serve" / "logs" / "server.log").read_text()


def test_another_schedule_is_told_of_and_replaced_by_name_or_time(served, tonight):
    second = _schedule(served, *NIGHTLY)
    assert (
        second.returncode == 0 and "batch-1: reconstruct-batch runs at '0 2 * * *' (Europe/Berlin)" in second.stdout
    ), second.stderr
    assert "there is also tonight: at '" in second.stdout and "--remove tonight" in second.stdout
    night = ZoneInfo("Europe/Berlin")
    ahead = datetime.now(night)
    due = ahead.replace(hour=2, minute=0, second=0) + timedelta(days=ahead.hour >= 2)
    assert f"next {due.astimezone(UTC):%Y-%m-%d %H:%M} UTC" in _schedule(served, "--list").stdout
    assert _schedule(served, *NIGHTLY, "--profile", "preview").returncode == 0
    assert (
        set(_schedules(served)) == {"tonight", "batch-1"}
        and _schedules(served)["batch-1"]["parameters"]["profile"] == "preview"
    )
    assert _schedule(served, "--cron", "0 3 * * *", "--name", "batch-1").returncode == 0
    assert _schedules(served)["batch-1"]["schedule"]["cron"] == "0 3 * * *"


def test_what_cannot_be_meant_is_refused(served, tonight):
    for wrong, said in (
        (("--cron", "at night"), "not a time"),
        (("--cron", "0 2 * * *", "--root", "/nowhere"), "found nothing"),
        (("--remove", "weekly"), "batch-1, tonight"),
    ):
        done = _schedule(served, *wrong)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    assert set(_schedules(served)) == {"tonight", "batch-1"}


def test_schedules_outlive_a_restart_and_are_listed_and_removed(served, tonight):
    assert served.stop() == 0
    served.start()
    listed = _schedule(served, "--list").stdout
    assert f"tonight: at '{tonight.minute} {tonight.hour} * * *' (UTC); root {served.folder / 'night'}" in listed, (
        listed
    )
    assert "batch-1: at '0 3 * * *' (UTC); profile standard" in listed, listed
    removed = _schedule(served, "--remove", "batch-1")
    assert "removed 1" in removed.stdout and "batch-1" in removed.stdout and set(_schedules(served)) == {"tonight"}
    assert "removed 1" in _schedule(served, "--remove").stdout and not _schedules(served)
    assert "no schedule" in _schedule(served, "--list").stdout


def test_seven_nights_make_each_capture_once(served):
    """Nights of a few seconds, so that batches overlap on a busy machine: what one has begun, the next one joins."""
    found = live_through(served, 15.0)
    print(f"\n{found}")
    assert found["captures_with_one_run"] == found["runs"] == found["twins"] == found["captures"] == 14, found
