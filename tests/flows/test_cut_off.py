"""A machine is suspended in the middle of a run, another one goes on with it, and then the first comes back.

Two workers on one SQLite server; one is stopped with all that it runs. Its locks are lost, as a file server drops those of a silent
machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from flows.flow_run.attempt import is_over
from flows.records.run_record import RunRecords
from flows.run.lease import Lease, leases_folder, read_holder
from stages.core.store import Store
from tests.flows.conftest import REPOSITORY, lose_locks, make_capture, wait_for
from tests.flows.served import TOY, Served, flow_process_of

WINDOW_S = 15


class _Other:
    """A second machine: one worker, whose processes carry its name."""

    def __init__(self, served: Served) -> None:
        command = [sys.executable, "-P", "-m", "flows.serve.part", str(os.getpid()), "worker", "twin", "1"]
        own = {
            "TWIN_MACHINE": "suspended",
            "PREFECT_HOME": str(served.folder / "home"),
            "PREFECT_API_URL": served.api_url,
            "PREFECT_API_AUTH_STRING": served.auth,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        with (served.folder / "suspended.log").open("w") as log:
            self.worker = subprocess.Popen(command, env={**served.env, **own}, stdout=log, stderr=log)

    def processes(self) -> list[int]:
        """The worker, flow processes and stages."""
        mark = b"TWIN_MACHINE=suspended\0"
        return [p.pid for p in psutil.process_iter() if mark in _environment(p.pid)]

    def send(self, number: int) -> int:
        """The same signal to all of them; how many there were."""
        pids = self.processes()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(pids)


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def served(tmp_path) -> Iterator[Served]:
    server = Served(tmp_path, {**TOY, "TWIN_MACHINE": "survivor", "TWIN_LOST_AFTER_S": str(WINDOW_S)}, runs=1)
    yield server
    assert server.stop() == 0, server.said()


@pytest.mark.slow
def test_who_comes_back_after_another_has_finished_the_run_changes_nothing(served, tmp_path):
    store, own = Store(served.store), served.part("worker\0twin\0")
    os.kill(own, signal.SIGSTOP)  # so that the other one takes the run
    other = _Other(served)
    try:
        (served.folder / "b.do").write_text("sleep 12")
        run = served.create("reconstruct-capture", capture=str(make_capture(served.captures / "cup")))["id"]
        served.wait(lambda: served.count("b") == 1)
        stage = int((served.folder / "b.count").read_text())
        at_it = {stage, flow_process_of(stage)}
        assert other.send(signal.SIGSTOP) >= 3
        (served.folder / "b.do").write_text("")
        for part in ("leases", "locks", "runs"):
            lose_locks(store.root / part)
        os.kill(own, signal.SIGCONT)
        served.wait_for(run, "Completed")
        twin, record = _twin(served), RunRecords(store).find(flow_run=run)
        served.wait(lambda: not list(leases_folder(store).glob("*.lease")))  # removed by the judge: the run is over
        other.send(signal.SIGCONT)
        served.wait(lambda: not at_it.intersection(other.processes()))  # its flow process finds that, and ends
        time.sleep(6)  # the worker reports the end of a process after five
        now = served.flow_run(run)
        assert now["state_name"] == "Completed" and now["run_count"] == 2, now["state"]
        assert record.state == "done" and RunRecords(store).find(flow_run=run) == record
        assert _twin(served) == twin and "cup" not in str(list(served.twins.glob(".*")))
        assert not list(leases_folder(store).glob("*.lease")) and not list((store.root / "corrupt").glob("*"))
        assert other.worker.poll() is None
    finally:
        other.send(signal.SIGKILL)
        other.worker.wait()


def _twin(served: Served) -> dict[str, bytes]:
    """All files of the twin."""
    folder = served.twins / "cup"
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert json.loads(found["run.json"])["run"] and "report.html" in found
    return found


HOLD = """
import sys, time
from pathlib import Path
from flows.run import lease
from stages.core.store import Store
lease.keep_lease(Store(Path(sys.argv[1])), "run")
print("in", flush=True)
while not Path(sys.argv[1], "go on").exists():
    time.sleep(0.01)
lease.leave_if_taken()
print("still mine", flush=True)
"""


@pytest.mark.parametrize("other_is", ["at it", "done"])
def test_a_process_that_was_stopped_ends_before_it_makes_anything_known(tmp_path, other_is):
    """Not only at its next beat: what it has computed meanwhile would reach server, record and twin before that."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert child.stdout.readline() == "in\n"
    os.kill(child.pid, signal.SIGSTOP)
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    lose_locks(tmp_path)
    with Lease(Store(tmp_path), "run", beat_s=0.05) as lease:
        token = read_holder(lease.path).token
        if other_is == "at it":
            (tmp_path / "go on").touch()
            os.kill(child.pid, signal.SIGCONT)
            assert child.wait(20) == 0 and read_holder(lease.path).token == token
    assert not lease.path.exists()
    (tmp_path / "go on").touch()
    if other_is == "done":
        os.kill(child.pid, signal.SIGCONT)
    assert child.wait(20) == 0 and child.stdout.read() == "" and not lease.path.exists()


@pytest.mark.parametrize(
    ("state", "run_count", "over"),
    [
        ("RUNNING", 1, False),
        ("CANCELLING", 1, False),
        ("CRASHED", 1, False),
        ("RUNNING", 2, True),
        ("COMPLETED", 1, True),
        ("COMPLETED", 2, True),
        ("FAILED", 2, True),
        ("SCHEDULED", 1, True),
        ("PENDING", 1, True),
        ("CANCELLED", 1, True),
    ],
)
def test_the_server_knows_whether_an_attempt_is_over(state, run_count, over):
    from prefect.client.schemas.objects import State

    assert is_over(SimpleNamespace(state=State(type=state), run_count=run_count), attempt=1) is over
