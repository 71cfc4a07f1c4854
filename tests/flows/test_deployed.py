"""Workers as the files of deploy/ start them, and schedules, on PostgreSQL and Redis: what killed processes and a time that comes lead to.

Commands are taken out of the files; only the interpreter's path and addresses differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.flows import cluster, worker_commands
from tests.flows.conftest import make_capture
from tests.flows.served import TOY, flow_process_of, kill_tree, named

pytestmark = pytest.mark.slow
PATIENCE_S = 400.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """The server's parts of compose.yaml, with the toy stages and no worker yet."""
    cluster.need_programs("the deployed parts are")
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "captures").mkdir()
    places = {"TWIN_STORE": "store", "TWIN_CAPTURES": "captures", "TWIN_TWINS": "twins", "TOY_FOLDER": "."}
    shared = {k: str(folder / v) for k, v in places.items()}
    planning = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}  # once a minute by itself
    with cluster.running_cluster(folder, {**shared, **TOY, **planning}, workers=False) as running:
        yield running


def _runs_until(running: cluster.Cluster, number: str, *states: str) -> dict:
    def run():
        return running.api("a", f"/flow_runs/{number}")

    return cluster.wait_until(lambda: (r := run())["state_name"] in states and r, PATIENCE_S)


def _start_run(running: cluster.Cluster, deployment: str, **parameters: str) -> str:
    found = running.api("a", f"/deployments/name/{named(deployment)}")["id"]
    return running.api(
        "a", f"/deployments/{found}/create_flow_run", {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    )["id"]


@contextlib.contextmanager
def _worker(
    running: cluster.Cluster, part: str, command: list[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen]:
    """Stopped as compose and systemd stop it, so that it is not there in the next test."""
    process = running.machines["a"].start(part, command, environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


@pytest.mark.parametrize("command", worker_commands.KINDS, ids=lambda f: f.__name__)
def test_a_killed_flow_process_and_a_retry_at_once(installation, command: Callable[[], list[str]]):
    part = f"worker-{command.__name__}"
    machine, environment = installation.machines["a"], installation.client("worker-cpu", "a")
    with _worker(installation, part, command(), environment) as worker:
        (run,) = _slow_runs(installation, part)
        os.kill(flow_process_of(_pids(machine.folder.parent)[-1]), signal.SIGKILL)
        _let_go(installation)
        _runs_until(installation, run, "Crashed")
        installation.api(
            "a", f"/flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
        )
        done = _runs_until(installation, run, "Completed", "Failed", "Crashed")
        assert done["state_name"] == "Completed" and done["run_count"] == 2, machine.said(part)[-3000:]
        assert worker.poll() is None, machine.said(part)[-3000:]
        if "--health" in command():
            address = f"http://127.0.0.1:{environment['PREFECT_WORKER_WEBSERVER_PORT']}/health"
            assert urllib.request.urlopen(address, timeout=30).status == 200


def _slow_runs(running: cluster.Cluster, *names: str) -> list[str]:
    """Runs whose stages b are under way, as long as the file b.do says so; whoever runs b later finds it quick if `_let_go` came before."""
    folder = running.machines["a"].folder.parent
    began = len(_pids(folder))
    (folder / "b.do").write_text("hold")
    runs = []
    for name in names:
        capture = make_capture(folder / "captures" / name)
        for file in ("text", "calibration.json"):  # or the store would have the stages of the capture before
            (capture / file).write_text(json.dumps({"name": name}))
        runs.append(_start_run(running, "reconstruct-capture", capture=str(capture)))
    cluster.wait_until(lambda: len(_pids(folder)) == began + len(names), PATIENCE_S)
    return runs


def _let_go(running: cluster.Cluster) -> None:
    (running.machines["a"].folder.parent / "b.do").write_text("")


def _pids(folder: Path, stage: str = "b") -> list[int]:
    path = folder / f"{stage}.count"
    return [int(x) for x in path.read_text().split()] if path.exists() else []


def _counts(running: cluster.Cluster) -> Counter[str]:
    return Counter({stage: len(_pids(running.machines["a"].folder.parent, stage)) for stage in "abcd"})


def test_workers_that_die_with_all_that_they_run_lose_nothing(installation):
    """One of each kind, each in the middle of a run: what starts afterwards gets all three back, without Retry."""
    machine, before = installation.machines["a"], _counts(installation)
    commands = {f"worker-{k.__name__}": worker_commands.with_limit(k(), 1) for k in worker_commands.KINDS}
    workers = [machine.start(n, c, installation.client("worker-cpu", "a")) for n, c in commands.items()]
    runs = _slow_runs(installation, *(f"died-{name}" for name in commands))
    began = time.monotonic()
    for worker in workers:
        kill_tree(worker.pid)
    _let_go(installation)
    _start_again(installation, "watcher")
    command = worker_commands.with_limit(worker_commands.compose(), len(runs))
    with _worker(installation, "worker-next", command, installation.client("worker-cpu", "a")):
        ended = [_runs_until(installation, run, "Completed", "Failed", "Crashed") for run in runs]
    print(f"\nkilled: workers with all that they run: taken back and completed after {time.monotonic() - began:.1f} s")
    assert [(r["state_name"], r["run_count"]) for r in ended] == [("Completed", 2)] * 3, [r["state"] for r in ended]
    assert _counts(installation) - before == {"a": 3, "b": 6, "c": 3, "d": 3}
    _kill(installation, "watcher")


PROCESSES = {
    "api": "flows.web.api_server",
    "services": "flows.serve.deployed\0services",
    "watcher": "flows.serve.deployed\0watcher",
}


def test_api_services_and_watcher_die_under_a_run(installation):
    """One after the other, started again as a container is: the run under way is not interrupted."""
    before, command = _counts(installation), worker_commands.compose()
    _start_again(installation, "watcher")
    with _worker(installation, "worker-under-way", command, installation.client("worker-cpu", "a")):
        (run,) = _slow_runs(installation, "under-way")
        for part in PROCESSES:
            began = time.monotonic()
            _kill(installation, part)
            _start_again(installation, part)
            print(f"\nkilled: {part}: works again after {time.monotonic() - began:.1f} s")
        _let_go(installation)
        ended = _runs_until(installation, run, "Completed", "Failed", "Crashed")
    assert (ended["state_name"], ended["run_count"]) == ("Completed", 1), ended["state"]["message"]
    assert _counts(installation) - before == dict.fromkeys("abcd", 1)
    _kill(installation, "watcher")


def _machine_of(running: cluster.Cluster, part: str) -> cluster.Machine:
    return running.base if part == "services" else running.machines["a"]


def _kill(running: cluster.Cluster, part: str) -> None:
    """kill -9; there is exactly one."""
    mark = PROCESSES[part].encode()
    (victim,) = [p for p in _machine_of(running, part).processes() if mark in Path(f"/proc/{p}/cmdline").read_bytes()]
    os.kill(victim, signal.SIGKILL)


def _start_again(running: cluster.Cluster, part: str) -> None:
    """Until it works: the API answers, the others say that they live."""
    compose, machine = running.compose, _machine_of(running, part)
    if part == "api":
        port = str(running.ports["a"])
        command = compose.command("api-1", host=cluster.LOOPBACK, port=port)
        machine.start("api", command, compose.environment("api-1"))
        cluster.wait_until(lambda: cluster.answers(f"http://{cluster.LOOPBACK}:{port}/api/ready"), PATIENCE_S)
        return
    file = machine.folder / "work" / f"alive-{part}"
    file.unlink(missing_ok=True)
    environment = compose.environment(part) if part == "services" else running.client(part, "a")
    machine.start(part, compose.command(part), environment)
    cluster.wait_until(file.exists, PATIENCE_S)


def test_a_schedule_starts_a_real_run_on_postgresql(installation):
    """An interval with an anchor, as the UI makes it; a cron on SQLite is in test_schedules.py."""
    deployment = installation.api("a", "/deployments/name/reconstruct-batch/all-ready-captures")["id"]
    due = datetime.now(UTC) + timedelta(seconds=40)
    interval = {"interval": 86400, "anchor_date": due.isoformat(), "timezone": "UTC"}
    installation.api(
        "a", f"/deployments/{deployment}/schedules", [{"schedule": interval, "active": True, "slug": "tonight"}]
    )
    ended = {
        "flow_runs": {
            "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}},
            "deployment_id": {"any_": [deployment]},
        }
    }
    batch = installation.compose.command("worker-batch")
    with _worker(installation, "worker-batch", batch, installation.client("worker-batch", "a")):
        run = cluster.wait_until(
            lambda: next(iter(installation.api("a", "/flow_runs/filter", ended)), None), PATIENCE_S
        )
    assert (
        run["state_name"] == "Completed" and run["auto_scheduled"] and run["created_by"]["display_value"] == "tonight"
    )
    assert abs(datetime.fromisoformat(run["expected_start_time"]) - due) < timedelta(seconds=1)


def test_back_up_and_restore_of_postgresql(installation, tmp_path):
    """While the server runs on it; restored into an empty database, where the same deployments are found."""
    postgres = installation.compose.environment("api-1")["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    env = {**installation.base.environment, "TWIN_STORE": str(tmp_path / "store")}

    def twin(url, *words):
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            capture_output=True,
            text=True,
            env={**env, "PREFECT_SERVER_DATABASE_CONNECTION_URL": url},
        )

    made = twin(postgres, "backup", str(tmp_path / "backup"))
    assert made.returncode == 0 and (tmp_path / "backup" / "prefect.dump").stat().st_mode & 0o077 == 0, made.stderr

    def psql(database, sql):
        return subprocess.run(
            [
                "psql",
                "-h",
                cluster.LOOPBACK,
                "-p",
                str(installation.ports["database"]),
                "-U",
                "prefect",
                "-d",
                database,
                "-Atc",
                sql,
            ],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": cluster.VALUES["POSTGRES_PASSWORD"]},
        ).stdout

    psql("prefect", "CREATE DATABASE restored")
    other = postgres.removesuffix("/prefect") + "/restored"
    for attempt in ("into nothing", "over the first"):
        back = twin(other, "restore", str(tmp_path / "backup"))
        assert back.returncode == 0, f"{attempt}: {back.stderr}"
        names = psql("restored", "SELECT name FROM deployment ORDER BY name")
        assert names == psql("prefect", "SELECT name FROM deployment ORDER BY name") and "all-ready-captures" in names
    wrong = twin(postgres.replace("s3cret@", "wrong@"), "backup", str(tmp_path / "backup"))
    assert wrong.returncode == 5 and "password authentication failed" in wrong.stderr and "s3cret" not in wrong.stderr
    assert twin("", "restore", str(tmp_path / "backup")).returncode == 5  # of PostgreSQL, here is SQLite


def test_redis_asks_for_its_password(installation):
    def ping(**secret):
        return subprocess.run(
            ["redis-cli", "-p", str(installation.ports["redis"]), "ping"],
            capture_output=True,
            text=True,
            env={**os.environ, **secret},
        )

    assert "NOAUTH" in ping().stdout + ping().stderr
    assert "PONG" in ping(REDISCLI_AUTH=cluster.VALUES["REDIS_PASSWORD"]).stdout


def test_the_services_say_that_they_live(installation):
    file = installation.base.folder / "work" / "alive-services"
    first = cluster.wait_until(lambda: file.exists() and file.stat().st_mtime, PATIENCE_S)
    assert cluster.wait_until(lambda: file.stat().st_mtime > first, 90)
