"""The installation of deploy/compose.yaml without containers: PostgreSQL, Redis, two API servers, background services, and machines with
workers and watchers, all processes of this machine on free ports. Settings and commands are those of the file, only addresses differ."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.run.stage_child import die_with_parent
from tests.flows.api_client import ApiClient
from tests.flows.served import ROOT, free_port, inherited

VALUES = {
    "TWIN_AUTH": "admin:p4ss word",
    "POSTGRES_PASSWORD": "s3cret",
    "REDIS_PASSWORD": "s3cretToo",
    "RUNS_PER_WORKER": "1",
    **{
        f"{name}_IMAGE": f"{name.lower()}:1@sha256:{'0' * 64}"
        for name in ("POSTGRES", "REDIS", "NGINX", "PYTHON", "CUDA")
    },
    "TWIN_LOST_AFTER_S": os.environ.get("TWIN_LOST_AFTER_S", "15"),
    "TWIN_FAIL_ON": "never",
}
"""what a user would write into deploy/.env; he would leave a machine its minute, and have twins of nine tiny frames fail"""
LOOPBACK = "127.0.0.1"
START_S = 400.0
_DIE_WITH_US = functools.partial(die_with_parent, os.getpid())


def missing_programs() -> list[str]:
    """Debian packages without which there is no cluster."""
    found = {"postgresql": shutil.which("initdb", path=_postgres_path()), "redis-server": shutil.which("redis-server")}
    return [package for package, path in found.items() if path is None]


def need_programs(what: str) -> None:
    """Skips the test that asks where they are not installed; in CI it fails. `what`: is not tested then."""
    if missing := missing_programs():
        reason = f"not installed: {', '.join(missing)} (apt-get install): {what} NOT tested"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def _postgres_path() -> str:
    """Debian keeps them out of PATH; the newest version first."""
    return os.pathsep.join(
        [*map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), os.environ["PATH"]]
    )


class Compose:
    """deploy/compose.yaml with the values of `VALUES`, and its names of hosts replaced by loopback addresses."""

    def __init__(self, database: int, redis: int) -> None:
        text = re.sub(
            r"(?<!\$)\$\{([A-Z0-9_]+)(?::-([^}]*)|:\?[^}]*)?\}",
            lambda m: VALUES.get(m[1]) or m[2] or "",
            (ROOT / "deploy" / "compose.yaml").read_text(),
        ).replace("$$", "$")
        self._file = yaml.safe_load(text)
        self._hosts = {"@postgres:5432": f"@{LOOPBACK}:{database}", "@redis:6379": f"@{LOOPBACK}:{redis}"}
        self._own = {
            "PREFECT_REDIS_MESSAGING_HOST": LOOPBACK,
            "PREFECT_REDIS_MESSAGING_PORT": str(redis),
            "PREFECT_SERVER_API_HOST": LOOPBACK,
        }
        self._redis = redis

    def environment(self, service: str, **own: str) -> dict[str, str]:
        """What the service finds in its environment."""
        found = {}
        for name, given in self._file["services"][service]["environment"].items():
            value = str(given)  # as compose takes a number
            for host, address in self._hosts.items():
                value = value.replace(host, address)
            found[name] = self._own.get(name, value)
        if "PREFECT_WORKER_WEBSERVER_PORT" in found:
            found["PREFECT_WORKER_WEBSERVER_PORT"] = str(free_port())  # each container has its own 8080
        if "TWIN_ALIVE_FILE" in found:
            found["TWIN_ALIVE_FILE"] = f"alive-{service}"  # and its own /tmp
        found.pop("PREFECT_HOME", None)  # which the machine has
        return {**found, **own}

    def redis_command(self) -> list[str]:
        """Of the service redis: its configuration, on our port and without a volume."""
        shell, option, script = self._file["services"]["redis"]["command"]
        own = f'bind {LOOPBACK}\nport {self._redis}\nsave ""\nappendonly yes\ndir .'
        return [shell, option, re.sub(r"appendonly yes\ndir /data", own, script)]

    def command(self, service: str, **options: str) -> list[str]:
        """Its command with our interpreter; `options` replaces values, as port="4300"."""
        words = [w.replace("exec python", f"exec {sys.executable}") for w in self._file["services"][service]["command"]]
        for name, value in options.items():
            words[words.index(f"--{name}") + 1] = value
        programs = {"prefect": [sys.executable, "-m", "prefect"], "python": [sys.executable]}
        return [*programs.get(words[0], words[:1]), *words[1:]]


class Machine:
    """Processes that share a name, a working folder and, as far as the kernel lets us, a host name."""

    def __init__(self, name: str, folder: Path, shared: Mapping[str, str]) -> None:
        self.name, self.folder = f"{name}-{secrets.token_hex(3)}", folder / name
        for part in ("work", "home", "tmp", "prefect", "logs"):
            (self.folder / part).mkdir(parents=True)
        own = {
            "TWIN_MACHINE": self.name,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": LOOPBACK,
            "no_proxy": LOOPBACK,
        }
        self.environment = {**inherited(), **shared, **own}

    def start(self, part: str, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen:
        """A long-lived process; what it prints goes to <folder>/logs/<part>.log."""
        with (self.folder / "logs" / f"{part}.log").open("ab") as log:
            return subprocess.Popen(
                [*self._named(), *command],
                cwd=self.folder / "work",
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_DIE_WITH_US,
            )

    def run(self, part: str, command: list[str], environment: Mapping[str, str]) -> None:
        """A process that has to succeed."""
        process = self.start(part, command, environment)
        if process.wait(START_S):
            raise RuntimeError(f"{part} failed: {self.said(part)[-1500:]}")

    def said(self, part: str) -> str:
        """All that a part printed."""
        return (self.folder / "logs" / f"{part}.log").read_text(errors="replace")

    def die(self) -> int:
        """As when its power fails: all its processes at once, none sees another end. Returns how many there were."""
        victims = self.processes()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        return len(victims)

    def processes(self) -> list[int]:
        """Process ids of all that run here, stages included."""
        mark, own = f"TWIN_MACHINE={self.name}\0".encode(), os.getpid()
        return [
            int(p.parent.name)
            for p in Path("/proc").glob("[0-9]*/environ")
            if int(p.parent.name) != own and mark in _read(p)
        ]

    def _named(self) -> list[str]:
        """A host name of its own, where the kernel allows it."""
        if subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
            return []
        return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]


class Cluster:
    """Two machines, each with API server, worker, batch worker and watcher, and one with the database, Redis and background services."""

    def __init__(self, folder: Path, shared: Mapping[str, str], database_folder: Path) -> None:
        self.ports = {name: free_port() for name in ("database", "redis", "a", "b")}
        self.compose = Compose(self.ports["database"], self.ports["redis"])
        self.base = Machine("base", folder, shared)
        self.machines = {name: Machine(name, folder, shared) for name in ("a", "b")}
        self._database_folder = database_folder
        self._postgres: subprocess.Popen | None = None
        self._redis: subprocess.Popen | None = None
        self._clients: dict[str, ApiClient] = {}

    def start(self) -> None:
        """Everything, in the order of the file."""
        self.start_server(("a", "api-1"), ("b", "api-2"))
        for name, machine in self.machines.items():
            for service in ("worker-cpu", "worker-batch", "watcher"):
                machine.start(service, self.compose.command(service), self.client(service, name))

    def start_server(self, *apis: tuple[str, str]) -> None:
        """All but workers and watchers; an API server (its service) on each of these machines."""
        self.base.run("check", self.compose.command("check"), self.compose.environment("check"))
        self._make_database()
        self.start_redis()
        self.base.run("migrate", self.compose.command("migrate"), self.compose.environment("migrate"))
        for name, service in apis:  # one after the other: compose.yaml says why
            port = str(self.ports[name])
            self.machines[name].start(
                "api", self.compose.command(service, host=LOOPBACK, port=port), self.compose.environment(service)
            )
            wait_until(lambda port=port: answers(f"http://{LOOPBACK}:{port}/api/ready"))
        self.base.start("services", self.compose.command("services"), self.compose.environment("services"))
        self.base.run("register", self.compose.command("register"), self.client("register", "a"))

    def stop(self) -> None:
        """All processes; the database politely, because it has shared memory to give back."""
        for machine in (*self.machines.values(), self.base):
            machine.die()
        if self._postgres is not None:
            self.stop_database()

    def api(self, machine: str, path: str, body: dict | None = None) -> Any:
        """One call of a machine's API server."""
        if machine not in self._clients:
            self._clients[machine] = ApiClient(f"http://{LOOPBACK}:{self.ports[machine]}/api", VALUES["TWIN_AUTH"])
        return self._clients[machine](path, body)

    def client(self, service: str, name: str) -> dict[str, str]:
        """What a service that talks to the API of this machine finds in its environment."""
        return self.compose.environment(service, PREFECT_API_URL=f"http://{LOOPBACK}:{self.ports[name]}/api")

    def start_database(self) -> None:
        """PostgreSQL on what was made. It refuses to run as root: then it runs as the user that its Debian package made."""
        folder, port = self._database_folder, str(self.ports["database"])
        with (self.base.folder / "logs" / "postgres.log").open("ab") as log:
            self._postgres = subprocess.Popen(
                [
                    "postgres",
                    "-D",
                    str(folder / "data"),
                    "-k",
                    str(folder),
                    "-h",
                    LOOPBACK,
                    "-p",
                    port,
                    "-c",
                    "fsync=off",
                ],
                cwd=folder,
                env=self._of_postgres(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_DIE_WITH_US,
                **_as_postgres(),
            )
        wait_until(
            lambda: (
                subprocess.run(["pg_isready", "-q", "-h", LOOPBACK, "-p", port], env=self._of_postgres()).returncode
                == 0
            )
        )

    def stop_database(self) -> None:
        """Its connections are cut, as when its machine is started again."""
        assert self._postgres is not None
        self._postgres.send_signal(signal.SIGINT)
        self._postgres.wait(30)

    def start_redis(self) -> None:
        """With what it had written before it stopped."""
        self._redis = self.base.start("redis", self.compose.redis_command(), self.compose.environment("redis"))

    def stop_redis(self) -> None:
        """kill -9."""
        assert self._redis is not None
        self._redis.kill()
        self._redis.wait()

    def _make_database(self) -> None:
        folder = self._database_folder
        if _as_postgres():
            shutil.chown(folder, "postgres", "postgres")
        (folder / "password").write_text(VALUES["POSTGRES_PASSWORD"])

        def run(*words):
            return subprocess.run(
                words, check=True, capture_output=True, cwd=folder, env=self._of_postgres(), **_as_postgres()
            )

        run(
            "initdb",
            "-D",
            str(folder / "data"),
            "-U",
            "prefect",
            "--auth=scram-sha-256",
            "--pwfile=password",
            "--no-sync",
        )
        self.start_database()
        run("createdb", "-h", LOOPBACK, "-p", str(self.ports["database"]), "-U", "prefect", "prefect")

    def _of_postgres(self) -> dict[str, str]:
        return {
            **self.base.environment,
            "PATH": _postgres_path(),
            "PGPASSWORD": VALUES["POSTGRES_PASSWORD"],
            "TWIN_MACHINE": "",
        }


@contextlib.contextmanager
def running_cluster(folder: Path, shared: Mapping[str, str], workers: bool = True) -> Iterator[Cluster]:
    """Started, and stopped whatever happens; without `workers` the server's parts alone, on machine a. The database lies apart, because its
    user may not enter `folder`."""
    with tempfile.TemporaryDirectory(prefix="stereotwin-database-", ignore_cleanup_errors=True) as database:
        cluster = Cluster(folder, shared, Path(database))
        try:
            cluster.start() if workers else cluster.start_server(("a", "api-1"))
            yield cluster
        finally:
            cluster.stop()


def wait_until(condition: Callable[[], Any], seconds: float = START_S) -> Any:
    """The condition's first true value. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.2)
    raise TimeoutError(f"waited {seconds:.0f} s in vain")


def _as_postgres() -> dict[str, Any]:
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


def _direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str) -> bool:
    """Whether a server says 200 there."""
    try:
        with _direct().open(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
