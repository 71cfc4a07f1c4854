"""The worker's next process, which waits for a run: taken, replaced, killed, left behind by its worker."""

from __future__ import annotations

import json
import os
import signal

import psutil
import pytest

from tests.flows.conftest import make_capture, wait_for
from tests.flows.served import TOY, Served, flow_process_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("spare"), TOY, runs=1)
    yield server
    assert server.stop() == 0
    assert not _all_spares(server)


def _spares(served: Served) -> list[int]:
    """Of the worker for captures, those that run a flow too."""
    return [pid for pid, worker in _all_spares(served).items() if worker == served.part("worker\0twin\0")]


def _all_spares(served: Served) -> dict[int, int]:
    """{process: its worker} of this installation; the one for batches has one too."""
    found = {}
    for pid in served.processes():
        try:
            process = psutil.Process(pid)
            if "flows.serve.spare_flow" in process.cmdline():
                found[pid] = process.ppid()
        except psutil.Error:
            continue
    return found


def _start(served: Served, name: str, b_does: str) -> dict:
    (served.folder / "b.do").write_text(b_does)
    capture = make_capture(served.captures / name)
    for file in ("text", "calibration.json"):
        (capture / file).write_text(json.dumps({"name": name}))
    return served.create("reconstruct-capture", capture=str(capture))


def _stage_b(served: Served, before: int) -> int:
    served.wait(lambda: served.count("b") > before)
    return int((served.folder / "b.count").read_text().split()[-1])


def test_a_run_takes_the_process_that_waits_and_the_next_one_comes(served):
    (spare,) = served.wait(lambda: _spares(served))
    run = _start(served, "cup", "sleep 6")
    assert flow_process_of(_stage_b(served, 0)) == spare
    served.wait(lambda: len(_spares(served)) == 2)
    served.wait_for(run["id"], "Completed")
    assert served.wait(lambda: len(_spares(served)) == 1 and spare not in _spares(served))


def test_a_batch_takes_the_process_of_its_worker(served):
    worker = served.part("worker\0twin-batch\0")
    (spare,) = served.wait(lambda: [pid for pid, above in _all_spares(served).items() if above == worker])
    run = served.create("reconstruct-batch", root=str(served.captures))
    served.wait_for(run["id"], "Completed")
    served.wait(lambda: spare not in _all_spares(served))  # it ran the batch and ended


def test_a_run_begins_also_where_the_waiting_one_was_killed(served):
    (spare,) = served.wait(lambda: len(found := _spares(served)) == 1 and found)
    os.kill(spare, signal.SIGKILL)
    served.wait_for(_start(served, "jug", "")["id"], "Completed")


def test_cancel_ends_a_run_in_such_a_process(served):
    served.wait(lambda: _spares(served))
    before = served.count("b")
    run = _start(served, "pot", "sleep 300")
    stage = _stage_b(served, before)
    served.set_state(run["id"], "CANCELLING", "Cancelling")
    wait_for(lambda: not psutil.pid_exists(stage), 60)
    served.wait_for(run["id"], "Cancelled")


def test_when_the_worker_dies_the_waiting_one_goes_and_the_run_goes_on(served):
    served.wait(lambda: _spares(served))
    before = served.count("b")
    run = _start(served, "bowl", "sleep 8")
    flow = flow_process_of(_stage_b(served, before))
    (waiting,) = served.wait(lambda: [p for p in _spares(served) if p != flow])
    served.kill("worker\0twin\0")
    wait_for(lambda: not psutil.pid_exists(waiting), 20)
    served.wait_for(run["id"], "Completed")
    assert served.count("b") == before + 1
