"""Parts of a farm that are away for a while in the middle of a batch: PostgreSQL, Redis, a machine that stands still. Nothing is lost, and
no run is called failed that was not."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import time
from pathlib import Path

import pytest

from tests.flows import cluster
from tests.flows.conftest import make_capture
from tests.flows.served import TOY, named

pytestmark = pytest.mark.slow
CAPTURES = 3
PATIENCE_S = 400.0
PARTS = ("worker-cpu", "worker-batch", "watcher")
OVER = ("Completed", "Failed", "Crashed", "Cancelled")


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """The server's parts of compose.yaml, one machine that works, and another one's watcher."""
    cluster.need_programs("outages are")
    folder = tmp_path_factory.mktemp("outages")
    (folder / "captures").mkdir()
    places = {"TWIN_STORE": "store", "TWIN_CAPTURES": "captures", "TWIN_TWINS": "twins", "TOY_FOLDER": "."}
    with cluster.running_cluster(
        folder, {**{k: str(folder / v) for k, v in places.items()}, **TOY}, workers=False
    ) as running:
        for part in PARTS:
            running.machines["b"].start(part, running.compose.command(part), running.client(part, "a"))
        running.machines["a"].start(
            "watcher", running.compose.command("watcher"), running.client("watcher", "a")
        )  # who would judge
        yield running


def _begun(farm: cluster.Cluster, name: str) -> tuple[str, str]:
    """A batch of captures whose first run is in the middle of its stage b, and the captures' name; stages a and b take some seconds."""
    folder, name = farm.base.folder.parent, f"{name}-{secrets.token_hex(2)}"
    for stage in "ab":
        (folder / f"{stage}.do").write_text("sleep 6")
    for k in range(CAPTURES):
        capture = make_capture(folder / name / f"{name}{k}")
        for file in ("text", "calibration.json"):
            (capture / file).write_text(json.dumps({"name": f"{name}{k}"}))
        (capture / "READY").touch()
    before = _count(folder, "b")
    deployment = farm.api("a", f"/deployments/name/{named('reconstruct-batch')}")["id"]
    body = {"parameters": {"root": str(folder / name)}, "state": {"type": "SCHEDULED"}}
    batch = farm.api("a", f"/deployments/{deployment}/create_flow_run", body)["id"]
    cluster.wait_until(lambda: _count(folder, "b") > before, PATIENCE_S)
    return batch, name


def _count(folder: Path, stage: str) -> int:
    path = folder / f"{stage}.count"
    return len(path.read_text().split()) if path.exists() else 0


def _ended(farm: cluster.Cluster, batch: str) -> dict:
    def over():
        with contextlib.suppress(OSError):  # it is only coming back
            run = farm.api("a", f"/flow_runs/{batch}")
            return run["state_name"] in OVER and run

    return cluster.wait_until(over, PATIENCE_S)


def _check(farm: cluster.Cluster, batch: str, name: str) -> None:
    """Batch and runs Completed in one attempt, never called Failed or Crashed, one run and one twin for each capture."""
    folder = farm.base.folder.parent
    ended = _ended(farm, batch)
    assert ended["state_name"] == "Completed" and ended["run_count"] == 1, ended["state"]["message"]
    runs = [
        r
        for r in farm.api("a", "/flow_runs/filter", {})
        if Path(r["parameters"].get("capture", "")).parent == folder / name
    ]
    told = [(r["name"], r["state_name"], r["run_count"], r["state"]["message"]) for r in runs]
    assert len(runs) == CAPTURES and all(r["state_name"] == "Completed" and r["run_count"] == 1 for r in runs), told
    history = {s["name"] for r in runs for s in farm.api("a", f"/flow_run_states/?flow_run_id={r['id']}")}
    assert not history & {"Failed", "Crashed"}, history
    assert (
        len({r["parameters"]["capture"] for r in runs})
        == len(list((folder / "twins").glob(f"{name}?-*/run.json")))
        == CAPTURES
    )


@pytest.mark.parametrize(("part", "seconds"), [("database", 20), ("redis", 15)])
def test_a_part_of_the_server_is_away(farm, part, seconds):
    """PostgreSQL, then Redis."""
    batch, name = _begun(farm, part)
    getattr(farm, f"stop_{part}")()
    time.sleep(seconds)
    getattr(farm, f"start_{part}")()
    _check(farm, batch, name)


def test_a_machine_that_stands_still_and_keeps_its_locks_keeps_its_runs(farm):
    """For much longer than the time after which a silent machine is taken for lost."""
    batch, name = _begun(farm, "still")
    pids = farm.machines["b"].processes()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(3 * float(cluster.VALUES["TWIN_LOST_AFTER_S"]))
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    _check(farm, batch, name)
