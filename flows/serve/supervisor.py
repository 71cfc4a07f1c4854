"""Keeps the parts of a one-box installation alive: server, workers, files, watcher. No Prefect in this process.

Each part is a child that dies with this one; a part that ends is started again, after a pause that doubles while it keeps ending.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flows.records.places import PICK_URL, captures_root, twins_root
from flows.run.lease import HEARTBEAT_S
from flows.web.address import holding, home
from flows.web.embedded_server import answers
from stages.core.errors import StoreError, TwinError
from stages.core.store import Store

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
STABLE_AFTER_S = 60.0
LOOK_EVERY_S = 0.5
SERVER_START_S = 300.0
"""seconds on an idle machine; after a power cut, with all that starts then, it has taken more than two minutes"""
KEPT_FOR = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P14D",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
}
"""Flow runs two weeks and events two days, where Prefect keeps 90 and 7 days. A run leaves 1 MB of pictures and 1 MB of events in the
database, so a thousand captures a night are 2 GB of events every day."""


@dataclass(frozen=True)
class Serving:
    """How to serve. `auth` is "user:password" or empty."""

    host: str = "127.0.0.1"
    port: int = 4200
    files_port: int = 4201
    runs_at_once: str = "auto"
    auth: str = ""

    @property
    def ui(self) -> str:
        """Address of the UI."""
        return f"http://{_reachable(self.host)}:{self.port}"

    @property
    def api(self) -> str:
        """Address of the API for the parts on this machine."""
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}/api"

    @property
    def files(self) -> str:
        """Address of the twins' files."""
        return f"http://{_reachable(self.host)}:{self.files_port}"

    def environment(self, home: Path) -> dict[str, str]:
        """What every part finds in its environment."""
        no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1", "localhost", self.host]))
        out = {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.api,
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_API_HOST": self.host,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_UI_API_URL": "/api",
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": self.ui,
            "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            **{k: os.environ.get(k, v) for k, v in KEPT_FOR.items()},
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",  # a run that waits for a worker is healthy
            "PREFECT_WORKER_QUERY_SECONDS": "3",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
            "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,stages",
            "TWIN_AUDIT_FILE": os.environ.get("TWIN_AUDIT_FILE") or str(home / "audit.jsonl"),
            "TWIN_FILES_URL": self.files,
            PICK_URL: f"{self.files}/pick/",
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }
        return out | (
            {"PREFECT_SERVER_API_AUTH_STRING": self.auth, "PREFECT_API_AUTH_STRING": self.auth} if self.auth else {}
        )


@dataclass
class Part:
    """One child process that has to live."""

    name: str
    arguments: list[str]
    process: subprocess.Popen = field(init=False)
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    due: float = 0.0
    restarts: int = 0


@dataclass
class Supervisor:
    """Starts the parts and looks after them until told to stop."""

    serving: Serving
    store: Store
    say: Callable[[str], None]
    stop: threading.Event = field(default_factory=threading.Event)
    entrance: str = ""
    """what is said of the UI's address; the address alone if empty"""
    parts: list[Part] = field(default_factory=list)

    def run(self) -> None:
        """Until `stop` is set. Raises TwinError when the server cannot be started at all, or another one serves this store."""
        with holding(self.store, self.serving.ui, self.serving.api, self.serving.auth):
            self._run()

    def _run(self) -> None:
        for folder in (captures_root(), twins_root()):
            folder.mkdir(parents=True, exist_ok=True)
        _refuse_taken(self.serving.host, self.serving.port)
        _refuse_taken(self.serving.host, self.serving.files_port)
        self._environment = {**os.environ, **self.serving.environment(home(self.store))}
        self._logs = home(self.store) / "logs"
        self._logs.mkdir(exist_ok=True)
        try:
            self._start_server()
            self._start_rest()
            if not self.stop.is_set():  # else it was told to stop while it started, and nothing is there
                self._announce()
            while not self.stop.wait(LOOK_EVERY_S):
                self._look()
        finally:
            self._end_all()

    def _start_server(self) -> None:
        server = self._add("server", ["server", self.serving.host, str(self.serving.port)])
        deadline = time.monotonic() + SERVER_START_S
        while not answers(self.serving.api, 1.0):
            if server.process.poll() is not None or time.monotonic() > deadline:
                why = self.last_words("server") or "it has said nothing"
                raise TwinError(f"Prefect's server did not start: {why}", f"see {self._logs / 'server.log'}")
            if self.stop.wait(0.1):
                return

    def _start_rest(self) -> None:
        if self.stop.is_set():
            return
        registered = subprocess.run(self._command(["register"]), env=self._environment, capture_output=True, text=True)
        if registered.returncode:
            raise TwinError(
                f"the flows could not be registered: {registered.stderr.strip()[-500:]}",
                "report this with the text above",
            )
        self._add("worker", ["worker", "twin", self.serving.runs_at_once])
        self._add("batch-worker", ["worker", "twin-batch", "5"])
        files = self._add("files", ["files", self.serving.host, str(self.serving.files_port), "with-metrics"])
        self._add("watcher", ["watcher"])
        self._wait_for(files, self.serving.files_port)

    def _wait_for(self, part: Part, port: int) -> None:
        """Until it takes connections: an address is told when it answers. A part that ends meanwhile is started again like any other."""
        deadline, host = (
            time.monotonic() + SERVER_START_S,
            {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.serving.host, self.serving.host),
        )
        while part.process.poll() is None and time.monotonic() < deadline and not self.stop.wait(0.05):
            try:
                with socket.create_connection((host, port), 1.0):
                    return
            except OSError:
                continue

    def _announce(self) -> None:
        self.say(f"Prefect UI   {self.entrance or self.serving.ui}")
        if not self.serving.auth:
            here = self.serving.host.startswith("127.") or self.serving.host in ("localhost", "::1")
            who = "every user and program of this machine" if here else "whoever reaches this address"
            self.say(
                f"WARNING      no password is set: {who} can start runs here and read the twins. Leave out --no-password."
            )
        self.say(f"captures     {captures_root()}   (a folder with a file READY in it is started by itself)")
        self.say(f"twins        {twins_root()}   {self.serving.files}")
        self.say(f"metrics      {self.serving.files}/metrics")
        self.say("Ctrl-C stops everything.")

    def _command(self, arguments: list[str]) -> list[str]:
        return [sys.executable, "-P", "-m", "flows.serve.part", str(os.getpid()), *arguments]

    def _add(self, name: str, arguments: list[str]) -> Part:
        part = Part(name, arguments)
        self.parts.append(part)
        self._start(part)
        return part

    def _start(self, part: Part) -> None:
        with (self._logs / f"{part.name}.log").open("a") as log:
            part.process = subprocess.Popen(
                self._command(part.arguments),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        part.started, part.due = time.monotonic(), 0.0

    def _look(self) -> None:
        now = time.monotonic()
        for part in self.parts:
            if part.process.poll() is None:
                continue
            if not part.due:
                part.pause_s = (
                    FIRST_PAUSE_S if now - part.started > STABLE_AFTER_S else min(2 * part.pause_s, LONGEST_PAUSE_S)
                )
                part.due = now + part.pause_s
                self.say(
                    f"{part.name} ended (exit code {part.process.returncode}): starting it again in {part.pause_s:.0f} s"
                )
            elif now >= part.due:
                part.restarts += 1
                self._start(part)

    def _end_all(self) -> None:
        """Workers first, so that they can tell the server what becomes of their runs."""
        for part in reversed(self.parts):
            if part.process.poll() is None:
                os.kill(part.process.pid, signal.SIGINT if "worker" in part.name else signal.SIGTERM)
                try:
                    part.process.wait(10.0)
                except subprocess.TimeoutExpired:
                    os.killpg(part.process.pid, signal.SIGKILL)
                    part.process.wait()

    def last_words(self, part: str) -> str:
        """The end of a part's log."""
        path = self._logs / f"{part}.log"
        return path.read_text(errors="replace").strip()[-500:] if path.exists() else ""


def _reachable(host: str) -> str:
    return socket.gethostname() if host == "0.0.0.0" else host


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise StoreError(
                f"port {port} of {host} cannot be used: {e.strerror}", "choose another with --port or --files-port"
            ) from e
