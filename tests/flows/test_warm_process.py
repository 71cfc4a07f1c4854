"""A run's warm process: what it spares, and that whichever of run, warm process and stage is killed, nothing stays and nothing is lost."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.run import warm_child
from flows.run.blas_threads import BLAS_THREADS
from flows.run.warm_process import WarmProcess
from stages.core.errors import StageError
from tests.flows.conftest import REPOSITORY, wait_for
from tests.flows.test_stage_process import ONCE, _alive


@pytest.fixture
def warm(toy):
    toy.warm = WarmProcess()
    yield toy.warm
    toy.warm.close()


def test_stages_are_its_children_and_it_ends_with_the_run(toy, warm):
    toy.order("b", "sleep 1")
    seen = []

    def watch():
        stage = toy.wait_started("b")
        seen.append((stage, _parent(stage), _session(stage)))

    watching = threading.Thread(target=watch)
    watching.start()
    toy.run()
    watching.join()
    (stage, parent, session), pid = seen[0], warm.pid
    assert parent == pid and session == stage and toy.counts() == ONCE and not _alive(stage)
    warm.close()
    assert not _alive(pid)


def test_kill_of_the_warm_process_is_survived(toy, warm, caplog):
    """Its child goes with it; the stage is run again in a fresh interpreter, and so are those after it."""
    toy.order("b", "sleep 2")
    done = []
    with caplog.at_level(logging.WARNING):
        run = threading.Thread(target=lambda: done.append(toy.run()))
        run.start()
        stage = toy.wait_started("b")
        os.kill(warm.pid, signal.SIGKILL)
        run.join(60)
    assert done and toy.counts() == {**ONCE, "b": 2} and not _alive(stage)
    assert "ended from outside; b is started again" in caplog.text and warm.why_not
    assert not list((toy.store.root / "tmp").glob("*"))


def test_kill_between_stages_is_survived(toy, warm):
    toy.run()
    os.kill(warm.pid, signal.SIGKILL)
    wait_for(lambda: not _alive(warm.pid))
    toy.run(force=True)
    assert toy.counts() == dict.fromkeys("abcd", 2)


def test_kill_of_the_child_leaves_the_warm_process_at_work(toy, warm):
    toy.order("b", f"kill {signal.SIGKILL}")
    with pytest.raises(StageError, match="b was killed by the system"):
        toy.run()
    before = warm.pid
    toy.order("b", "")
    toy.run()
    assert toy.counts() == {**ONCE, "b": 2} and warm.pid == before and not warm.why_not


def test_kill_of_the_run_takes_all_along(toy):
    toy.order("b", "sleep 60")
    toy.warm = WarmProcess()
    run = multiprocessing.get_context("spawn").Process(target=toy.run)
    run.start()
    stage = toy.wait_started("b")
    between = _parent(stage)
    assert _parent(between) == run.pid
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    wait_for(lambda: not _alive(stage) and not _alive(between))
    assert toy.store.sweep() == 1


def test_a_second_thread_is_noticed(monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process with threads was forked"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    held = threading.Event()
    other = threading.Thread(target=held.wait)
    other.start()
    with ours, theirs:
        assert warm_child._forked(theirs) is None
        held.set()
        assert ours.recv(64).decode().startswith("refused")


def test_what_it_imports_starts_no_thread_and_touches_no_gpu():
    code = (
        "import sys, os; from flows.run.warm_child import KERNELS, STAGES, WARMED, _warm\n"
        "[_warm(m) for m in (*WARMED, STAGES, KERNELS)]\n"
        "print(len(os.listdir('/proc/self/task')), [m for m in ('torch', 'pyarrow', 'prefect') if m in sys.modules],\n"
        "      all(m in sys.modules for m in WARMED))"
    )
    said = _said(code)
    assert said.split("\n")[0] == "1 [] True"


def test_numba_has_nothing_left_to_prepare_in_a_fork_and_kernels_compute_right():
    code = (
        "import os, sys; from flows.run.warm_child import KERNELS, _warm; import numpy as np, numba\n"
        "from numba.core.registry import cpu_target\n"
        "known = lambda: (len(cpu_target.typing_context._registries), len(cpu_target.target_context._registries))\n"
        "fresh = known(); _warm(KERNELS); warm = known()\n"
        "if os.fork() == 0:\n"
        "    total = numba.njit(lambda x: np.sqrt(x).sum())(np.full(9, 4.0))\n"
        "    print(fresh[1] < warm[1], known() == warm, total, flush=True); os._exit(0)\n"
        "os.wait()"
    )
    said = _said(code)
    assert said.split() == ["True", "True", "18.0"]


def test_openblas_has_its_threads_in_the_child_and_forks_compute_right():
    code = (
        "import os, numpy as np; from flows.run.blas_threads import give_blas_its_threads\n"
        "a = np.random.default_rng(0).random((900, 900)); before = a @ a\n"
        "if os.fork() == 0:\n"
        "    os.environ['OPENBLAS_NUM_THREADS'] = '3'; give_blas_its_threads()\n"
        "    right = np.abs(a @ a - before).max() < 1e-9\n"
        "    print(len(os.listdir('/proc/self/task')), right, flush=True); os._exit(0)\n"
        "os.wait()"
    )
    said = _said(code)
    assert said.split() == ["3", "True"]


def test_environment_and_folder_are_those_of_the_moment(toy, warm, tmp_path, monkeypatch):
    toy.run()
    other = tmp_path / "other"
    other.mkdir()
    for name in toy.counts():
        (other / f"{name}.do").write_text("")
    monkeypatch.setenv("TOY_FOLDER", str(other))
    monkeypatch.chdir(other)
    toy.run(force=True)
    assert sorted(p.name for p in other.glob("*.count")) == [f"{n}.count" for n in "abcd"] and not warm.why_not


def _said(code: str) -> str:
    """What a fresh interpreter with one thread of BLAS prints."""
    env = {**os.environ, BLAS_THREADS: "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _session(pid: int) -> int:
    return int(_stat(pid)[3])
