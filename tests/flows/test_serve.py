"""`twin serve` for real: server, workers and watcher on free ports with the toy stages. One server for the whole file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.flows.conftest import REPOSITORY, make_capture, wait_for

pytestmark = pytest.mark.slow
PATIENCE_S = 120.0


class Served:
    """A running `twin serve` with its folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.captures = folder, folder / "captures"
        self.port, self.files_port = _free_port(), _free_port()
        env = {"TWIN_STORE": "store", "TWIN_CAPTURES": "captures", "TWIN_TWINS": "twins", "TOY_FOLDER": "."}
        self.env = {**os.environ, **{k: str(folder / v) for k, v in env.items()}, "TWIN_STAGES": "tests.flows.toy_stages:stages",
                    "PYTHONPATH": str(REPOSITORY), "TWIN_AUTH": ""}
        self.env.pop("PREFECT_API_URL", None)
        self.log = (folder / "serve.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", "--port", str(self.port), "--files-port", str(self.files_port), "--runs", "2"],
            env=self.env, stdout=self.log, stderr=subprocess.STDOUT)
        wait_for(lambda: "Ctrl-C stops" in self.said() or self.process.poll() is not None, PATIENCE_S)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return (self.folder / "serve.log").read_text()

    def api(self, path: str, body: dict | None = None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api{path}", headers={"Content-Type": "application/json"},
                                         data=None if body is None else json.dumps(body).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                with opener.open(request, timeout=30) as reply:
                    return json.load(reply)
            except urllib.error.HTTPError as e:
                if e.code != 503:             # "busy, ask again": Prefect's own clients do the same
                    raise
                time.sleep(0.5)

    def capture(self, name: str, text: str = "") -> Path:
        path = make_capture(self.captures / name)
        (path / "text").write_text(text or name)
        (path / "calibration.json").write_text(json.dumps({"name": name}))
        return path

    def runs(self, capture: str) -> list[dict]:
        every = self.api("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
        return [r for r in every if str(r["parameters"].get("capture", "")).endswith(f"/{capture}")]

    def wait_state(self, capture: str, state: str) -> dict:
        def there():
            try:
                return next((r for r in self.runs(capture) if r["state_name"] == state), None)
            except OSError:                   # the server is being started again
                return None

        return wait_for(there, PATIENCE_S)

    def start(self, deployment: str, **parameters) -> dict:
        found = self.api(f"/deployments/name/{deployment}/twin")
        return self.api(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters, "state": {"type": "SCHEDULED"}})

    def count(self, stage: str) -> int:
        path = self.folder / f"{stage}.count"
        return len(path.read_text().split()) if path.exists() else 0

    def part(self, words: str) -> int:
        command = f"serve_part\0{self.process.pid}\0{words}".encode()
        return next(int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if command in _read(p))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0, server.said()
    assert "stopped" in server.said()
    with pytest.raises(StopIteration):
        server.part("")


def test_a_ready_marker_starts_one_run_and_a_batch_does_not_repeat_it(served):
    (served.capture("cup") / "READY").touch()
    served.wait_state("cup", "Completed")
    assert (served.folder / "twins" / "cup" / "run.json").exists()
    batch = served.start("reconstruct-batch")
    wait_for(lambda: served.api(f"/flow_runs/{batch['id']}")["state_name"] == "Completed", PATIENCE_S)
    assert len(served.runs("cup")) == 1 and "done before" in (served.folder / "twins" / "batch.html").read_text()


def test_a_failed_stage_is_resumed_by_retry(served):
    (served.folder / "c.do").write_text("raise")
    before = {s: served.count(s) for s in "abcd"}
    (served.capture("jug") / "READY").touch()
    failed = served.wait_state("jug", "Failed")
    assert "frame 17 of right/ is missing" in failed["state"]["message"]
    artifacts = served.api("/artifacts/filter", {"artifacts": {"key": {"any_": ["failure"]}}})
    assert "copy it again" in artifacts[0]["data"]
    (served.folder / "c.do").write_text("")
    served.api(f"/flow_runs/{failed['id']}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True})
    served.wait_state("jug", "Completed")
    assert {s: served.count(s) - before[s] for s in "abcd"} == {"a": 1, "b": 1, "c": 2, "d": 1}


def test_one_bad_capture_of_a_batch_leaves_the_others(served):
    other = served.folder / "other"
    for name in ("good1", "bad", "good2"):
        path = make_capture(other / name)
        (path / "text").write_text(name)
        (path / "calibration.json").write_text(name)
        (path / "READY").touch()
    (other / "bad" / "calibration.json").unlink()
    batch = served.start("reconstruct-batch", root=str(other))
    done = wait_for(lambda: (r := served.api(f"/flow_runs/{batch['id']}"))["state_name"] in ("Failed", "Completed") and r, PATIENCE_S)
    assert done["state_name"] == "Failed" and "1 of 3 captures failed: bad" in done["state"]["message"]
    assert len(list((served.folder / "twins").glob("good*/run.json"))) == 2


def test_wrong_values_are_refused_before_a_run_exists(served):
    before = len(served.api("/flow_runs/filter", {}))
    for wrong in ({"capture": ""}, {"capture": "cup", "profile": "best"}, {"capture": "cup", "methods": {"b": "magic"}},
                  {"capture": "cup", "settings": ["nonsense"]}, {"capture": "cup", "box": {"left": -1, "top": 0, "right": 1, "bottom": 1}}):
        with pytest.raises(urllib.error.HTTPError) as error:
            served.start("reconstruct-capture", **wrong)
        assert error.value.code == 409, wrong
    assert len(served.api("/flow_runs/filter", {})) == before


def test_server_and_worker_are_started_again_and_a_run_survives(served):
    (served.folder / "b.do").write_text("sleep 12")
    (served.capture("vase") / "READY").touch()
    served.wait_state("vase", "Running")
    os.kill(served.part("server"), signal.SIGKILL)
    os.kill(served.part("worker\0twin\0"), signal.SIGKILL)
    served.wait_state("vase", "Completed")
    (served.folder / "b.do").write_text("")
    assert "server ended" in served.said() and len(served.runs("vase")) == 1


def test_files_are_served_but_not_listed(served):
    fetch = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    address = f"http://127.0.0.1:{served.files_port}"
    (served.folder / "twins" / "cup").mkdir(exist_ok=True)
    (served.folder / "twins" / "cup" / "page.html").write_text("<p>")
    assert fetch(f"{address}/cup/page.html").read() == b"<p>"
    for path in ("/", "/cup/", "/.hidden", "/%2e%2e/serve.log"):
        with pytest.raises(urllib.error.HTTPError):
            fetch(address + path)


def test_schedules(served):
    run = lambda *words: subprocess.run([sys.executable, "-m", "flows.cli", "schedule", *words], env=served.env, capture_output=True, text=True)  # noqa: E731,E501
    first = run("--cron", "0 2 * * *", "--timezone", "Europe/Berlin")
    assert first.returncode == 0, first.stderr
    assert run("--cron", "0 2 * * *", "--profile", "preview").returncode == 0
    found = served.api("/deployments/name/reconstruct-batch/twin")["schedules"]
    assert len(found) == 1 and found[0]["parameters"]["profile"] == "preview"
    assert run("--cron", "at night").returncode == 2
    assert "removed 1" in run("--remove").stdout


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
