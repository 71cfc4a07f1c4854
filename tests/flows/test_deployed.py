"""Workers as the files of deploy/ start them, and schedules, on PostgreSQL and Redis: what a killed process and a time that comes lead to.

Commands are taken out of the files; only the interpreter's path and addresses differ.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.flows import cluster
from tests.flows.conftest import make_capture
from tests.flows.served import ROOT, TOY, flow_process_of, named

pytestmark = pytest.mark.slow
DEPLOY = ROOT / "deploy"
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


def _compose() -> list[str]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker-cpu"]["command"]


def _kubernetes() -> list[str]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "workers.yaml").read_text())
    found = next(d for d in documents if d["metadata"]["name"] == "worker-cpu")
    return found["spec"]["template"]["spec"]["containers"][0]["command"]


def _systemd() -> list[str]:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "systemd" / "twin-worker@.service")
    return shlex.split(unit["Service"]["ExecStart"].replace("%i", "twin").replace("${TWIN_RUNS}", "1"))


def _here(command: list[str]) -> list[str]:
    """With our interpreter, and the values that compose fills in."""
    words = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", w) for w in command]
    assert Path(words[0]).name == "python" and "flows.serve.deployed" in words, command
    return [sys.executable, *words[1:]]


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
        process.wait(60)


@pytest.mark.parametrize("command", (_compose, _kubernetes, _systemd), ids=lambda f: f.__name__.strip("_"))
def test_a_killed_flow_process_and_a_retry_at_once(installation, command: Callable[[], list[str]]):
    part = f"worker-{command.__name__.strip('_')}"
    machine, environment = installation.machines["a"], installation.client("worker-cpu", "a")
    with _worker(installation, part, _here(command()), environment) as worker:
        run, stage = _slow_run(installation, machine.folder.parent, part)
        os.kill(flow_process_of(stage), signal.SIGKILL)
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


def _slow_run(running: cluster.Cluster, folder: Path, name: str) -> tuple[str, int]:
    """A run whose stage b is under way and would take long, and that stage's process. Whoever runs b again finds it quick."""
    began = len(_pids(folder))
    (folder / "b.do").write_text("sleep 300")
    capture = make_capture(folder / "captures" / name)
    for file in ("text", "calibration.json"):  # or the store would have the stages of the capture before
        (capture / file).write_text(json.dumps({"name": name}))
    run = _start_run(running, "reconstruct-capture", capture=str(capture))
    stage = cluster.wait_until(lambda: (pids := _pids(folder))[began:] and pids[-1], PATIENCE_S)
    (folder / "b.do").write_text("")
    return run, stage


def _pids(folder: Path) -> list[int]:
    path = folder / "b.count"
    return [int(x) for x in path.read_text().split()] if path.exists() else []


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
