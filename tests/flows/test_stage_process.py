"""Stages in child processes: results, errors, kills, limits; each on the toy pipeline, counting how often stages ran. All of it twice: with
children started plainly, and forked by a warm process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.run.stage_process import StageFault, StageJob, look_up
from flows.run.warm_process import WarmProcess
from stages.core.errors import CaptureError, StageError, StoreError, WeightsError
from stages.core.store import Store
from tests.flows.conftest import wait_for
from tests.flows.toy_stages import ToyConfig

ONCE = {"a": 1, "b": 1, "c": 1, "d": 1}


@pytest.fixture(autouse=True, params=["plain", "warm"])
def way(request, toy):
    """How children are started."""
    toy.warm = WarmProcess() if request.param == "warm" else None
    yield request.param
    if toy.warm is not None:
        assert not toy.warm.why_not
        toy.warm.close()


def test_results_and_cache(toy):
    first = toy.run()
    assert first["d"].refs["d.txt"].path.read_text() == "capture a(1)capture a(1)b(1)c(1)d(1)"
    assert not any(r.cached for r in first.values()) and toy.counts() == ONCE
    assert 5 < first["a"].manifest["peak_memory_mb"] < 200  # of the child alone
    again = toy.run()
    assert all(r.cached for r in again.values()) and toy.counts() == ONCE
    assert again["d"].refs == first["d"].refs


def test_a_cached_run_starts_no_child(toy, monkeypatch):
    toy.run()
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("a child was started"))
    toy.run()


@pytest.mark.parametrize("stage", ["a", "b", "c", "d"])
def test_kill_in_the_middle_and_resume(toy, stage):
    """kill -9 of the stage itself: only it and what follows runs again, and nothing half-written stays."""
    toy.order(stage, f"kill {signal.SIGKILL}")
    with pytest.raises(StageError, match=f"{stage} was killed by the system.*memory") as error:
        toy.run()
    assert "finished stages are kept" in error.value.advice
    assert not list((toy.store.root / "tmp").glob("*"))
    toy.order(stage, "")
    toy.run()
    assert toy.counts() == {**ONCE, stage: 2}


def test_kill_of_the_parent_takes_the_stage_along_and_frees_its_lock(toy):
    toy.order("b", "sleep 60")
    parent = multiprocessing.get_context("spawn").Process(target=toy.run)
    parent.start()
    child = toy.wait_started("b")
    fingerprint = wait_for(lambda: [p.name.split(".")[0] for p in (toy.store.root / "tmp").glob("*")])[0]
    assert toy.store.is_locked(fingerprint)
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    wait_for(lambda: not _alive(child))
    assert not toy.store.is_locked(fingerprint)
    assert toy.store.sweep() == 1
    toy.order("b", "")
    toy.run()
    assert toy.counts() == {**ONCE, "b": 2}


def test_two_processes_on_one_capture_compute_each_stage_once(toy):
    for stage in "abcd":
        toy.order(stage, "sleep 0.3")
    runs = [multiprocessing.get_context("spawn").Process(target=toy.run) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    assert toy.counts() == ONCE


def test_flipped_byte_is_found_and_only_that_stage_computed_again(toy):
    first = toy.run()
    path = first["b"].refs["b.txt"].path
    path.write_bytes(b"X" + path.read_bytes()[1:])
    again = toy.run()
    assert toy.counts() == {**ONCE, "b": 2}
    assert [r.cached for r in again.values()] == [True, False, True, True]  # same content again, so c and d still hold
    assert len(list((toy.store.root / "corrupt").iterdir())) == 1


@pytest.mark.parametrize("damage", ["{ not json", "", None])
def test_damaged_manifest_is_computed_again(toy, damage):
    first = toy.run()
    manifest = first["c"].refs["c.txt"].path.parent / "manifest.json"
    manifest.unlink() if damage is None else manifest.write_text(damage)
    toy.run()
    assert toy.counts() == {**ONCE, "c": 2}


def test_one_setting_recomputes_only_what_depends_on_it(toy):
    toy.run()
    toy.run({"c": ToyConfig(gain=2.0)})
    assert toy.counts() == {"a": 1, "b": 1, "c": 2, "d": 2}
    toy.run({"b": ToyConfig(size=(2, 4))})  # a setting that does not change b's output: c and d still hold
    assert toy.counts() == {"a": 1, "b": 2, "c": 2, "d": 2}
    toy.run(seed=5)
    assert toy.counts() == {"a": 2, "b": 3, "c": 3, "d": 3}


def test_errors_travel_with_their_type_and_advice(toy):
    toy.order("b", "raise")
    with pytest.raises(CaptureError) as error:
        toy.run()
    assert (error.value.message, error.value.advice) == ("frame 17 of right/ is missing", "copy it again")
    toy.order("b", "no weights")
    with pytest.raises(WeightsError, match="toy_net"):
        toy.run()


def test_faults_travel_with_their_traceback(toy):
    toy.order("b", "fault")
    with pytest.raises(StageFault, match="KeyError") as error:
        toy.run()
    assert "toy_stages.py" in error.value.details
    toy.order("b", "print")
    with pytest.raises(StageFault, match="exit code 7") as error:
        toy.run()
    assert "words of a library" in error.value.details


def test_other_signals_are_named(toy):
    toy.order("a", f"kill {signal.SIGSEGV}")
    with pytest.raises(StageError, match="SIGSEGV"):
        toy.run()


def test_time_limit_ends_the_stage_and_its_children(toy, tmp_path, way):
    toy.order("b", f"child {tmp_path / 'grandchild'}")
    limit = {"plain": 15, "warm": 8}[way]  # a busy machine needs some seconds to start the stage at all
    with pytest.raises(StageError, match=f"time limit of {limit} s") as error:
        toy.run(time_limit_s=float(limit))
    assert "--time-limit" in error.value.advice
    assert not _alive(int((tmp_path / "grandchild").read_text())) and not list((toy.store.root / "tmp").glob("*"))


def test_what_a_killed_stage_had_started_is_ended_too(toy, tmp_path):
    """The system takes the stage for its memory; the processes that it had started hold memory as well."""
    toy.order("b", f"child {tmp_path / 'grandchild'}")

    def kill():
        wait_for(lambda: (tmp_path / "grandchild").exists() and (tmp_path / "grandchild").read_text())
        os.kill(toy.wait_started("b"), signal.SIGKILL)

    threading.Thread(target=kill).start()
    with pytest.raises(StageError, match="b was killed by the system"):
        toy.run()
    assert not _alive(int((tmp_path / "grandchild").read_text()))


def test_interrupt_ends_the_stage(toy):
    toy.order("b", "sleep 60")

    def interrupt():
        toy.wait_started("b")
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell that runs tests in the background has SIGINT ignored
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            toy.run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list((toy.store.root / "tmp").glob("*"))


def test_progress_and_log_arrive(toy, caplog):
    seen = []
    with caplog.at_level(logging.INFO):
        toy.run(progress=lambda *p: seen.append(p))
    assert (1, 2, "half way") in seen and (2, 2, "done") in seen


def test_force_computes_again(toy):
    toy.run()
    toy.run(force=True)
    assert toy.counts() == {"a": 2, "b": 2, "c": 2, "d": 2}


def test_waiting_for_another_run_is_said(toy):
    toy.run()
    fingerprint = "0" * 64
    notes = []
    with toy.store.lock(fingerprint):
        waiter = threading.Thread(
            target=look_up, args=("a", fingerprint, StageJob(toy.store, progress=lambda *p: notes.append(p[2])))
        )
        waiter.start()
        wait_for(lambda: notes)
    waiter.join(5)
    assert not waiter.is_alive() and "another run" in notes[0]


def test_the_child_imports_no_heavy_library():
    code = "import flows.run.stage_child, sys; print([m for m in ('prefect', 'torch', 'numba', 'open3d', 'cv2') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_full_disk_is_said_and_loses_nothing(toy, tmp_path):
    """A file system of 6 MB: stage b does not fit, what a wrote stays, and with more room the run goes on."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("cannot mount a small file system here (needs root): full-disk test not run")
    try:
        toy.store = Store(mount / "store")
        toy.order("b", "write 8")
        with pytest.raises(StoreError, match="no space left") as error:
            toy.run()
        assert "twin clean" in error.value.advice and not list((mount / "store" / "tmp").glob("*"))
        subprocess.run(["mount", "-o", "remount,size=60m", mount], check=True)
        toy.run()
        assert toy.counts() == {**ONCE, "b": 2}
    finally:
        subprocess.run(["umount", mount], check=True)


def _alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
