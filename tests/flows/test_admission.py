"""How many runs begin at once: worked out for machines of every size, and seen on this one with real runs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.records.run_record import RunRecords
from flows.run.admission import FLOW_GB, Admission, Machine, limit_of, needed_gb, room_for
from flows.run.neighbours import FRESH_S, among_neighbours, cores, folder, neighbours, share_of_cores
from stages.core.errors import ConfigError
from stages.core.store import Store
from tests.flows.conftest import make_capture, wait_for
from tests.flows.served import TOY, Served


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nobody else's runs count here."""
    monkeypatch.setenv("TWIN_MACHINE_RUNS", str(tmp_path / "machine"))


@pytest.mark.parametrize(
    "there, one_more_gb, expected",
    [
        (Machine(2, 16, 12), 1.9, 2),
        (Machine(1, 4, 3), 1.9, 1),
        (Machine(64, 256, 250), 1.9, 33),
        (Machine(64, 16, 14), 1.9, 6),
        (Machine(8, 16, 12), 6.0, 1),
        (Machine(8, 16, 3), 6.0, 1),
        (Machine(8, 2, 0.5), 1.9, 1),
        (Machine(16, 64, 60), 1.9, 9),
    ],
)
def test_runs_at_once_follow_cores_and_memory(there, one_more_gb, expected):
    assert room_for(there, [], one_more_gb).runs == expected


def test_memory_that_runs_will_still_take_is_not_given_twice():
    laptop = Machine(8, 16, 12)  # five by cores; 1.6 GB are kept
    assert room_for(laptop, [3.0, 3.0], 4.0).runs == 1
    assert room_for(laptop, [3.0, 3.0, 3.0], 4.0).runs == 0
    assert "3 runs under way" in room_for(laptop, [3.0, 3.0, 3.0], 4.0).why


@pytest.mark.parametrize("seed", range(8))
def test_a_laptop_is_never_driven_into_swap(seed):
    """A night on 16 GB and 16 cores: runs come to hold up to what is known of them, other programs take memory and give it back."""
    draw, peak, others = random.Random(seed), 2.5, 3.0
    runs: list[float] = []
    most = 0
    for _ in range(500):
        others = min(6.0, max(2.0, others + draw.uniform(-0.2, 0.2)))
        runs = [min(peak, held + draw.uniform(0, 0.5)) for held in runs if held < peak or draw.random() > 0.2]
        machine = Machine(16, 16.0, 16.0 - others - sum(runs))
        assert machine.free_gb > 0, runs
        runs += [0.05] * min(room_for(machine, [peak - held for held in runs], peak).runs, draw.randint(0, 9))
        most = max(most, len(runs))
    assert most >= 3  # and it is used


def test_what_a_run_needs_is_what_such_runs_held(toy):
    records = RunRecords(toy.store)
    assert needed_gb("standard", records.all()) == pytest.approx(0.1 + FLOW_GB)  # what the toy stages say
    record = records.new({"capture": str(toy.capture), "out": "/out", "profile": "quality"}, ["a", "b"])
    record.stages["b"].peak_memory_mb, record.state = 6100, "done"
    records.save(record)
    assert needed_gb("quality", records.all()) == pytest.approx(6.1 + FLOW_GB)
    assert needed_gb("standard", records.all()) == pytest.approx(0.1 + FLOW_GB)


def _another(seconds: float = 60.0) -> subprocess.Popen:
    program = (
        f"import time; from flows.run.neighbours import among_neighbours\nwith among_neighbours('r', 'f', 5.0):\n"
        f" print('in', flush=True); time.sleep({seconds})"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    return process


def test_runs_of_a_machine_know_of_each_other_and_dead_ones_do_not_count():
    assert share_of_cores() in (0, cores())
    process = _another()
    try:
        with among_neighbours("mine", "", 1.0):
            assert {n.pid for n in neighbours()} == {process.pid, os.getpid()} and share_of_cores() == max(
                1, cores() // 2
            )
        assert [(n.pid, n.flow_run, n.needs_gb) for n in neighbours()] == [(process.pid, "f", 5.0)]
        growing = Admission(Store()).room({"f", "g"}, "standard")  # g has been started and is no process yet
        assert "2 runs" in growing.why
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert neighbours() == []
    left = next(folder().glob("*.run"))
    os.utime(left, (time.time() - 2 * FRESH_S,) * 2)
    assert neighbours() == [] and not left.exists()


def test_a_limit_is_a_number_or_auto():
    assert limit_of("auto") is None and limit_of("7") == 7
    for wrong in ("0", "-1", "many", "1.5", ""):
        with pytest.raises(ConfigError, match="no number of runs"):
            limit_of(wrong)
    told = subprocess.run(
        [sys.executable, "-m", "flows.cli", "serve", "--runs", "many"], capture_output=True, text=True
    )
    assert told.returncode == 2 and "'many'" in told.stderr


def _captures(served: Served, count: int) -> None:
    for k in range(count):
        path = make_capture(served.captures / f"c{k}")
        (path / "text").write_text(f"{k} ")
        (path / "calibration.json").write_text(json.dumps({"of": k}))
        (path / "READY").touch()


def _states(served: Served) -> list[str]:
    return [r["state_name"] for r in served.api("/flow_runs/filter", {})]


@pytest.mark.slow
def test_runs_and_threads_follow_the_machine_and_a_full_disk_pauses(tmp_path):
    """On the cores that are here: one run for each two and one more, each with its share of them."""
    served = Served(
        tmp_path, {**TOY, "TWIN_MIN_FREE_GB": "1e9", "TWIN_MACHINE_RUNS": str(tmp_path / "machine")}, runs="auto"
    )
    try:
        _captures(served, 5)

        def told():
            return [
                r for r in served.api("/flow_runs/filter", {}) if "no run is begun" in (r["state"]["message"] or "")
            ]

        run = served.wait(told)[0]
        assert run["state_type"] == "SCHEDULED" and "TWIN_MIN_FREE_GB" in run["state"]["message"]
        status = subprocess.run(
            [sys.executable, "-m", "flows.cli", "status"], env=served.env, capture_output=True, text=True
        ).stdout
        assert "paused  no run is begun" in status and served.count("a") == 0
        log = Path(served.store / "prefect" / "serve" / "logs" / "worker.log").read_text()
        assert log.count("no run is begun") == 1
        served.stop()
        del served.env["TWIN_MIN_FREE_GB"]  # the disk has room again
        (served.folder / "b.do").write_text("sleep 4")
        served.start()
        most = 0
        while (states := _states(served)).count("Completed") < 5:
            most = max(most, len(list((tmp_path / "machine").glob("*.run"))))
            assert "Failed" not in states and "Crashed" not in states
            time.sleep(0.2)
    finally:
        served.stop()
    expected = min(cores() // 2 + 1, 5)
    assert most == expected
    given = [int(n) for n in (served.folder / "threads").read_text().split()]
    assert min(given) == max(1, cores() // expected) and wait_for(
        lambda: not list((tmp_path / "machine").glob("*.run"))
    )
