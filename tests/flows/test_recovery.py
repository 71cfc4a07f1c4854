"""Leases and who judges by them: dead runs are brought back once, healthy ones are left alone, whatever one sign of life says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import State, StateType

from flows.run.lease import Holder, Lease, leases_folder, read_holder, this_machine, write_holder
from flows.serve.recovery import Recovery, Stillness, lost_after_s
from flows.upkeep.cleaning import Wish, clean_up
from stages.core.errors import ConfigError
from stages.core.store import Store
from tests.flows.conftest import REPOSITORY, lose_locks, wait_for

LOOK_S = 3.0
SCHEDULED = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)


class _Client:
    """The two calls of `Recovery`, on flow runs of its own."""

    def __init__(self) -> None:
        self.runs: dict[UUID, SimpleNamespace] = {}

    def add(self, kind: StateType = StateType.RUNNING, run_count: int = 1, message: str = "") -> UUID:
        name = uuid4()
        state = State(type=kind, message=message)
        self.runs[name] = SimpleNamespace(
            id=name, name=str(name), state=state, deployment_id="d", run_count=run_count, expected_start_time=SCHEDULED
        )
        return name

    def read_flow_runs(self, flow_filter, flow_run_filter) -> list[SimpleNamespace]:
        assert "reconstruct-capture" in flow_filter.name.any_
        named, kinds = flow_run_filter.id, flow_run_filter.state
        return [
            r
            for r in self.runs.values()
            if (named and r.id in named.any_) or (kinds and r.state.type in kinds.type.any_)
        ]

    def set_flow_run_state(self, run_id, state, force) -> None:
        self.runs[run_id].state = state.model_copy(update={"id": uuid4()})

    def names(self, *runs: UUID) -> list[str]:
        return [self.runs[r].state.name for r in runs]


class _Watch:
    """A Recovery whose clock only the test moves."""

    def __init__(self, store: Store) -> None:
        self.client, self.store, self.now = _Client(), store, 1000.0
        leases_folder(store).mkdir(parents=True, exist_ok=True)
        self.recovery = Recovery(self.client, store)

    def lease(self, run: UUID, machine: str = "elsewhere", beats: int = 0) -> Path:
        path = leases_folder(self.store) / f"{run}.lease"
        write_holder(path, Holder(f"token of {run}", machine, "there", beats))
        return path

    def pass_time(self, seconds: float) -> list[str]:
        said = []
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            said += self.recovery.look(self.now)
        return said


@pytest.fixture
def watch(tmp_path) -> _Watch:
    return _Watch(Store(tmp_path))


def test_a_run_of_a_dead_machine_is_brought_back_once_after_the_window(watch):
    run = watch.client.add()
    watch.lease(run)
    assert watch.pass_time(57) == [] and watch.client.names(run) == ["Running"]
    assert len(watch.pass_time(12)) == 1 and watch.client.names(run) == ["AwaitingRetry"]
    assert watch.client.runs[run].state.state_details.scheduled_time == SCHEDULED  # before those that have not begun
    assert watch.pass_time(600) == []  # waits for a worker, however long


def test_a_taken_run_that_has_just_started_again_gets_the_whole_window(watch):
    """Between the state Running and the new lease lies a moment in which the old, taken lease is all there is."""
    run = watch.client.add()
    watch.lease(run)
    watch.pass_time(90)
    watch.client.set_flow_run_state(run, State(type=StateType.RUNNING), True)
    assert watch.pass_time(30) == []


def test_late_beats_and_held_locks_both_save_a_run(watch):
    held, beating = watch.client.add(), watch.client.add()
    handle = watch.lease(held).open("ab")
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX)  # silent, but its lock reaches us
    for beat in range(20):
        watch.lease(beating, beats=beat // 2)  # its lock does not reach us, but it beats, slowly
        assert watch.pass_time(27) == []
    handle.close()


def test_a_pause_of_the_judge_is_no_silence(watch):
    run = watch.client.add()
    watch.lease(run)
    watch.pass_time(30)
    watch.now += 10_000  # the machine of the judge was suspended, or the filesystem hung
    assert watch.pass_time(12) == []
    watch.lease(run, beats=1)
    assert watch.pass_time(57) == []


def test_on_this_machine_a_free_lock_is_enough_but_a_live_worker_comes_first(watch):
    run = watch.client.add()
    watch.lease(run, machine=this_machine())
    assert watch.pass_time(9) == [] and len(watch.pass_time(3)) == 1


def test_runs_that_ended_lose_their_lease_and_are_left_alone(watch):
    runs = [
        watch.client.add(k) for k in (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED)
    ]
    leases = [watch.lease(r) for r in runs]
    stranger = watch.lease(uuid4())  # of another server with the same store
    assert watch.pass_time(120) == []
    assert not any(p.exists() for p in leases) and stranger.exists()


def test_what_only_the_heartbeat_watch_marked_is_brought_back(watch):
    from flows.flow_run.crash_watch import CRASH_MESSAGE

    run = watch.client.add(StateType.CRASHED, message=CRASH_MESSAGE)
    watch.lease(run)
    assert len(watch.pass_time(66)) == 1 and watch.client.names(run) == ["AwaitingRetry"]


def test_attempts_end_and_a_cancelled_run_is_not_tried_again(watch):
    often, cancelled = watch.client.add(run_count=3), watch.client.add(StateType.CANCELLING)
    for run in (often, cancelled):
        watch.lease(run)
    assert len(watch.pass_time(66)) == 2 and watch.client.names(often, cancelled) == ["Crashed", "Cancelled"]


def test_a_submission_that_was_cut_short_is_repeated(watch):
    stuck = watch.client.add(StateType.PENDING, run_count=0)
    assert watch.pass_time(90) == []
    assert len(watch.pass_time(6)) == 1 and watch.client.names(stuck) == ["AwaitingRetry"]


def test_a_run_that_ended_while_the_server_was_away_is_brought_back(watch):
    """Its process, or its worker, could not tell the server so, and it had no lease yet."""
    run = watch.client.add()
    assert watch.pass_time(180) == []
    assert len(watch.pass_time(6)) == 1 and watch.client.names(run) == ["AwaitingRetry"]


def test_one_judge_at_a_time(watch):
    other = Recovery(watch.client, watch.store)
    run = watch.client.add()
    watch.lease(run)
    watch.pass_time(3)
    assert all(other.look(t) == [] for t in range(0, 600, 3)) and watch.client.names(run) == ["Running"]


def test_the_window_is_a_setting(monkeypatch):
    assert lost_after_s() == 60.0
    monkeypatch.setenv("TWIN_LOST_AFTER_S", "20")
    assert lost_after_s() == 20.0
    for wrong in ("4", "nan", "soon"):
        monkeypatch.setenv("TWIN_LOST_AFTER_S", wrong)
        with pytest.raises(ConfigError, match=f"TWIN_LOST_AFTER_S={wrong}"):
            lost_after_s()


def test_stillness_forgets_what_is_not_asked_for():
    still = Stillness()
    seen = []
    for now, asked in ((0, True), (3, True), (6, False), (9, True), (12, True)):
        still.look(now)
        seen.append(still.seconds("a", 1) if asked else None)
    assert seen == [0, 3, None, 0, 3]


def test_a_lease_beats_is_free_after_a_kill_and_gone_after_a_clean_end(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from flows.run.lease import Lease; from stages.core.store import Store\n"
        "with Lease(Store(Path(sys.argv[1])), 'run', beat_s=0.05):\n    print('in', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert child.stdout.readline() == "in\n"
    path = leases_folder(Store(tmp_path)) / "run.lease"
    first = read_holder(path)
    assert first.machine == this_machine()
    wait_for(lambda: read_holder(path).beats > first.beats + 2)
    waiting = Lease(Store(tmp_path), "run")
    entered = threading.Event()
    threading.Thread(target=lambda: (waiting.__enter__(), entered.set()), daemon=True).start()
    assert not entered.wait(0.6)  # a second process of the same run waits for the first
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert entered.wait(5.0) and read_holder(path).token != first.token
    waiting.__exit__()
    assert not path.exists()


def test_who_was_cut_off_and_comes_back_ends(tmp_path):
    taken = threading.Event()
    with Lease(Store(tmp_path), "run", beat_s=0.05, taken=taken.set) as lease:
        time.sleep(0.2)
        assert not taken.is_set()
        write_holder(lease.path, Holder("another", "elsewhere"))
        assert taken.wait(5.0)
    assert lease.path.exists()  # it is the other one's by now


def test_cleaning_forgets_old_leases_that_nobody_holds(tmp_path):
    store = Store(tmp_path)
    with Lease(store, "held") as held:
        for name in ("old", "new"):
            write_holder(leases_folder(store) / f"{name}.lease", Holder("x", "elsewhere"))
        for name in ("held", "old"):
            os.utime(leases_folder(store) / f"{name}.lease", (1, 1))
        clean_up(store, Wish(older_than_days=1.0))
        assert (
            held.path.exists()
            and not (leases_folder(store) / "old.lease").exists()
            and (leases_folder(store) / "new.lease").exists()
        )


def test_a_lease_that_is_gone_is_not_mine_and_not_made_again(tmp_path):
    """Whoever finished the run has taken it away."""
    taken = threading.Event()
    with Lease(Store(tmp_path), "run", beat_s=0.05, taken=taken.set) as lease:
        lease.path.unlink()
        assert taken.wait(5.0)
        time.sleep(0.2)
        assert not lease.path.exists()
    assert not lease.path.exists()


def test_a_lease_that_was_copied_back_is_locked_again(tmp_path):
    from stages.core.file_locks import try_lock

    with Lease(Store(tmp_path), "run", beat_s=0.05) as lease:
        lose_locks(lease.path.parent)
        wait_for(lambda: (h := read_holder(lease.path)) and h.beats > 1 and try_lock(lease.path) is None)


DAMAGED = (b"", b"null", b"[1]", b"\xff\xfe", b'{"token": 5}', b'{"machine": "x"}', b"[" * 100_000)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_leases_and_strange_names_are_passed_over_and_their_runs_brought_back(watch, content, caplog):
    damaged, healthy = watch.client.add(), watch.client.add()
    watch.lease(damaged).write_bytes(content)
    folder = leases_folder(watch.store)
    (folder / "notes.lease").write_text("not a flow run")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.lease")).write_text("nor this")
    watch.lease(healthy)
    said = watch.pass_time(66)
    assert len(said) == 2 and watch.client.names(damaged, healthy) == ["AwaitingRetry"] * 2
    assert caplog.text.count("notes.lease") == 1 and "caf\\xe9.lease" in caplog.text


def test_a_lease_of_a_newer_version_still_names_its_holder(watch):
    run = watch.client.add()
    path = watch.lease(run)
    path.write_text('{"token": "t", "machine": "m", "host": "h", "beats": 3, "mood": "fine"}')
    assert read_holder(path) == Holder("t", "m", "h", 3)


def test_a_store_that_cannot_be_written_costs_the_lease_only(tmp_path, caplog):
    (tmp_path / "leases").write_text("a file in its place")
    with Lease(Store(tmp_path), "run"):
        assert "no lease" in caplog.text
