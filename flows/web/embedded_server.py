"""Prefect's API as a child process for one run, so that nothing has to be started by hand.

Each run takes a free slot <store>/prefect/<n> with a database of its own: several runs at once never meet in one SQLite file, and a
slot is migrated only once. A slot is held by flock, so a killed run frees it; the server dies with its parent.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from flows.run.stage_child import die_with_parent
from stages.core.disk_errors import free_bytes, size
from stages.core.file_locks import try_lock

START_TIMEOUT_S = 120.0
ROOM_BYTES = 20_000_000
"""a new database takes 2 MB, a run about 1 MB and as much again while it is written"""
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}


class ServerUnavailable(Exception):
    """The embedded server cannot serve; the run goes on without it."""


class EmbeddedServer:
    """Started at once and waited for later, so that its start-up runs beside other work."""

    def __init__(self, root: Path) -> None:
        if (free := free_bytes(root)) is not None and free < ROOM_BYTES:
            raise ServerUnavailable(
                f"{size(free)} are free on the disk of {root}, its database needs {size(ROOM_BYTES)}"
            )
        try:
            self.home, self._slot = _free_slot(root)
        except OSError as e:
            raise ServerUnavailable(f"cannot write {root}: {e.strerror}") from e
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._auth = f"run:{secrets.token_urlsafe(24)}"
        self.api_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        self._log = (self.home / "server.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.web.embedded_server", str(self._socket.fileno()), str(os.getpid())],
            env={**os.environ, **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=[self._socket.fileno()],
            start_new_session=True,
        )

    def environment(self) -> dict[str, str]:
        """What Prefect must find in the environment before it is imported."""
        no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy", ""), "127.0.0.1"]))
        return {
            **QUIET,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api_url,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "PREFECT_API_AUTH_STRING": self._auth,
            "PREFECT_SERVER_API_AUTH_STRING": self._auth,
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": self.api_url.removesuffix("/api"),
        }

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Until the API answers. Raises ServerUnavailable when it dies or takes too long."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerUnavailable(f"it ended with exit code {self._process.returncode}: {self._last_words()}")
            if answers(self.api_url, 1.0):
                return
            time.sleep(0.05)
        raise ServerUnavailable(f"it did not answer within {timeout_s:.0f} s: {self._last_words()}")

    def stop(self) -> None:
        """End the server; the slot is free again."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        for handle in (self._socket, self._log, self._slot):
            handle.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        return " ".join(self._log.read().split())[-400:] or "it said nothing"


def _free_slot(root: Path) -> tuple[Path, IO[bytes]]:
    for number in range(1000):
        home = root / str(number)
        home.mkdir(parents=True, exist_ok=True)
        if (handle := try_lock(home / "slot.lock", make=True)) is not None:
            return home, handle
    raise OSError("all slots are taken")


def answers(api_url: str, timeout_s: float) -> bool:
    """Whether a Prefect API answers there."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{api_url}/health", timeout=timeout_s) as reply:
            return json.load(reply) is True
    except (OSError, ValueError, urllib.error.URLError):
        return False


def main() -> None:
    """The server process: file descriptor of its listening socket, process id of its parent."""
    die_with_parent(int(sys.argv[2]))
    os.environ["PREFECT__SERVER_FINAL"] = "1"
    import uvicorn
    from prefect.server.api.server import create_app

    from flows.web.api_server import guarded
    from flows.web.sqlite_database import lock_transactions_from_the_beginning

    lock_transactions_from_the_beginning()
    app = guarded(create_app(ephemeral=True, final=True), "127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", access_log=False))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
