"""A real `twin serve` on free ports: started, asked, killed in parts, stopped. For tests and for tools/bench_operations.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from flows.flow_run.own_work import DEPLOYMENTS
from tests.flows.api_client import ApiClient

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
TOY = {"TWIN_STAGES": "tests.flows.toy_stages:stages", "TWIN_SETTLE_S": "1"}


def inherited() -> dict[str, str]:
    """This process's environment as a user's would be: a run that a test started in this process has left Prefect's settings in it, and
    with them no run's log reaches the server."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TWIN_"))}


def flow_process_of(stage: int) -> int:
    """Process id of the run whose stage this is: above the stage, or above the warm process that forked it."""
    above = psutil.Process(stage).parent()
    assert above is not None
    return above.ppid() if "flows.run.warm_child" in above.cmdline() else above.pid


def kill_tree(pid: int) -> None:
    """kill -9 of a process and of all below it at once, as a container or a unit of systemd ends with its first process."""
    victims = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: none of them may see another die
        for process in victims:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
    psutil.wait_procs(victims, timeout=30)


def named(flow: str) -> str:
    """Flow and name of the deployment of a flow."""
    return next(d for d in DEPLOYMENTS if d.startswith(f"{flow}/"))


class Served:
    """A running `twin serve` whose store, captures, twins and logs lie in `folder`. Real stages unless `env` names others."""

    host = "127.0.0.1"
    options: tuple[str, ...] = ()

    def __init__(
        self, folder: Path, env: Mapping[str, str] = {}, runs: int | str = 2, patience_s: float = PATIENCE_S
    ) -> None:
        self.folder, self.captures, self.twins, self.store = (
            folder,
            folder / "captures",
            folder / "twins",
            folder / "store",
        )
        self.port, self.files_port = free_port(), free_port()
        self.runs_at_once, self.patience_s = runs, patience_s
        places = {
            "TWIN_STORE": self.store,
            "TWIN_CAPTURES": self.captures,
            "TWIN_TWINS": self.twins,
            "TOY_FOLDER": folder,
        }
        places["TWIN_FAIL_ON"] = (
            "never"  # nine tiny frames of one side make no usable twin, and rightly; here it is how they run
        )
        self.env = {**inherited(), **{k: str(v) for k, v in places.items()}, "PYTHONPATH": str(ROOT), **env}
        self._client: ApiClient | None = None
        self.start()

    @property
    def api_url(self) -> str:
        """Prefect's API."""
        return f"{self.ui}/api"

    @property
    def ui(self) -> str:
        """Prefect's UI."""
        return f"http://{self.host}:{self.port}"

    @property
    def auth(self) -> str:
        """user:password: the one that was given, else the one that it made; empty with --no-password."""
        made = self.store / "prefect" / "serve" / "password"
        return self.env.get("TWIN_AUTH") or (made.read_text().strip() if made.exists() else "")

    @property
    def link(self) -> str:
        """The address that logs a browser in."""
        return f"{self.ui}/open#{self.auth}"

    def start(self) -> float:
        """Start, or start again after `kill_everything`; returns the seconds until it was ready."""
        began, already = time.monotonic(), self.said().count("Ctrl-C stops")
        with (self.folder / "serve.log").open("a") as log:
            ports = ["--host", self.host, "--port", str(self.port), "--files-port", str(self.files_port)]
            options = [*ports, "--runs", str(self.runs_at_once), *self.options]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "serve", *options], env=self.env, stdout=log, stderr=log
            )
        try:
            self.wait(lambda: self.said().count("Ctrl-C stops") > already or self.process.poll() is not None)
        except BaseException:
            self.process.kill()  # its parts die with it
            raise
        if self.process.poll() is not None:
            raise RuntimeError(f"twin serve ended: {self.said()[-1500:]}")
        return time.monotonic() - began

    def stop(self) -> int:
        """Politely, as Ctrl-C does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.patience_s)

    def said(self) -> str:
        """All that it printed."""
        path = self.folder / "serve.log"
        return path.read_text() if path.exists() else ""

    def wait(self, condition: Callable[[], Any], seconds: float | None = None, every_s: float = 0.1) -> Any:
        """The condition's first true value. A server that is being started again does not answer: that is waited out."""
        deadline = time.monotonic() + (seconds or self.patience_s)
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
            except OSError:
                pass
            time.sleep(every_s)
        raise TimeoutError(f"waited {seconds or self.patience_s:.0f} s in vain")

    def api(self, path: str, body: dict | None = None, method: str | None = None) -> Any:
        """One call of Prefect's API."""
        self._client = self._client or ApiClient(self.api_url, self.auth)
        return self._client(path, body, method)

    def create(self, deployment: str, **parameters: Any) -> dict:
        """Start a flow run as the UI does."""
        found = self.api(f"/deployments/name/{named(deployment)}")
        return self.api(
            f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        )

    def flow_run(self, number: str) -> dict:
        """One flow run as the server knows it."""
        return self.api(f"/flow_runs/{number}")

    def retry(self, number: str) -> None:
        """What the UI's Retry does."""
        self.set_state(number, "SCHEDULED", "AwaitingRetry")

    def set_state(self, number: str, state: str, name: str) -> None:
        """Force a state."""
        self.api(f"/flow_runs/{number}/set_state", {"state": {"type": state, "name": name}, "force": True})

    def wait_for(self, number: str, *states: str, seconds: float | None = None) -> dict:
        """Until a flow run is in one of the states."""
        return self.wait(lambda: (r := self.flow_run(number))["state_name"] in states and r, seconds)

    def runs(self, capture: str) -> list[dict]:
        """Flow runs of a capture."""
        every = self.api("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
        return [r for r in every if str(r["parameters"].get("capture", "")).endswith(f"/{capture}")]

    def wait_state(self, capture: str, state: str) -> dict:
        """Until a flow run of a capture is in a state."""
        return self.wait(lambda: next((r for r in self.runs(capture) if r["state_name"] == state), None))

    def part(self, words: str) -> int:
        """Process id of a part: "server", "worker\\0twin\\0", ..."""
        command = f"flows.serve.part\0{self.process.pid}\0{words}".encode()
        return next(int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if command in _read(p))

    def kill(self, words: str) -> None:
        """kill -9 of a part."""
        os.kill(self.part(words), signal.SIGKILL)

    def kill_everything(self) -> int:
        """What a power cut does: kill -9 of every process of this installation at once. Returns how many there were."""
        victims = self.processes()
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: none of them may see another die
            for pid in victims:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        self.process.wait()
        self.wait(lambda: not self.processes())
        return len(victims)

    def processes(self) -> list[int]:
        """All processes that work on this store."""
        mark = f"TWIN_STORE={self.store}\0".encode()
        own = os.getpid()
        return [
            int(p.parent.name)
            for p in Path("/proc").glob("[0-9]*/environ")
            if mark in _read(p) and int(p.parent.name) != own
        ]

    def count(self, stage: str) -> int:
        """How often a toy stage ran."""
        path = self.folder / f"{stage}.count"
        return len(path.read_text().split()) if path.exists() else 0


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
