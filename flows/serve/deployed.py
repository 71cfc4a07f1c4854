"""One part of an installation as the files of deploy/ start it: `python -P -m flows.serve.deployed PART [options]`.

Every part looks first whether its secrets and libraries can be used, and says so in one line if not, with exit code 2. `twin serve` starts
the same parts by itself, on one machine, from part.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.serve import part as serve_part
from flows.serve.alive import keep_saying_alive
from flows.web.deploy_secrets import CLIENT, COMPOSE, SERVER, refuse_unpinned, refuse_unsafe
from flows.web.library_versions import refuse_faulty_libraries
from stages.core.errors import TwinError

UNUSABLE = 2


def check(args: argparse.Namespace) -> None:
    """What compose starts before everything else: images, beside the secrets that were looked at by now."""
    refuse_unpinned(os.environ)
    print("secrets and images can be used")  # noqa: T201 - into the part's log


def migrate(args: argparse.Namespace) -> None:
    """The database as this version of Prefect needs it."""
    _become("-m", "prefect", "server", "database", "upgrade", "-y")


def api(args: argparse.Namespace) -> None:
    """API and UI behind the guard of web/api_server.py, without background services."""
    _become("-m", "flows.web.api_server", "--no-services", "--host", args.host, "--port", str(args.port))


def services(args: argparse.Namespace) -> None:
    """Scheduler, automations, clean-up of the database."""
    from prefect.cli._server_utils import _run_all_services

    from flows.web import mail_block  # noqa: F401 - who sends notifications has to know it

    async def run() -> None:
        alive = asyncio.create_task(keep_saying_alive())
        try:
            await _run_all_services()
        finally:
            alive.cancel()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


def register(args: argparse.Namespace) -> None:
    """Pools, deployments, crash watch."""
    serve_part.register()


def watcher(args: argparse.Namespace) -> None:
    """Starts what is READY, brings back lost runs."""
    serve_part.watcher()


def files(args: argparse.Namespace) -> None:
    """The twins' files, behind the password of the API."""
    os.environ.setdefault("PREFECT_SERVER_API_AUTH_STRING", os.environ["PREFECT_API_AUTH_STRING"])
    serve_part.files(args.host, str(args.port))


def metrics(args: argparse.Namespace) -> None:
    """/metrics of store and server, behind the password of the API."""
    os.environ.setdefault("PREFECT_SERVER_API_AUTH_STRING", os.environ["PREFECT_API_AUTH_STRING"])
    serve_part.metrics(args.host, str(args.port))


def worker(args: argparse.Namespace) -> None:
    """Starts the flow runs of a pool, each in a process of its own."""
    take_compiled(os.environ.get("TWIN_COMPILED", ""), os.environ.get("NUMBA_CACHE_DIR", ""))
    serve_part.worker(args.pool, args.limit, args.health)


def take_compiled(source: str, target: str) -> None:
    """The image's compiled code where this user may write: numba looks only where it may also add to it. A full disk costs time, no run."""
    if source and target and Path(source).is_dir() and not Path(target).exists():
        with contextlib.suppress(OSError):
            shutil.copytree(source, target)


@dataclass(frozen=True)
class _Part:
    start: Callable[[argparse.Namespace], None]
    secrets: Sequence[str]
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def _address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=os.environ.get("PREFECT_SERVER_API_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, required=True)


def _pool(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", required=True, help="the work pool whose runs it takes")
    parser.add_argument(
        "--limit", default="auto", help="runs at once, or auto: as many as the machine, or its container, has room for"
    )
    parser.add_argument(
        "--health", action="store_true", help="answer /health at PREFECT_WORKER_WEBSERVER_HOST and _PORT"
    )


PARTS = {
    "check": _Part(check, COMPOSE),
    "migrate": _Part(migrate, SERVER),
    "api": _Part(api, SERVER, _address),
    "services": _Part(services, SERVER),
    "register": _Part(register, CLIENT),
    "watcher": _Part(watcher, CLIENT),
    "files": _Part(files, CLIENT, _address),
    "metrics": _Part(metrics, CLIENT, _address),
    "worker": _Part(worker, CLIENT, _pool),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one part until it is told to stop; 2 if it cannot be started like this."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve.deployed", description=__doc__)
    commands = parser.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        part.options(commands.add_parser(name, help=part.start.__doc__))
    args = parser.parse_args(argv)
    # started in the background by some shells, SIGINT is ignored, and so would be a worker's polite end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    part = PARTS[args.part]
    try:
        refuse_unsafe(part.secrets, os.environ)
        if part.secrets == SERVER:
            refuse_faulty_libraries()
        part.start(args)
    except TwinError as e:
        print(f"{args.part} is not started: {e}", file=sys.stderr, flush=True)  # noqa: T201
        return UNUSABLE
    return 0


def _become(*words: str) -> None:
    """This process goes on as another Python program, so that signals reach it."""
    os.execv(sys.executable, [sys.executable, "-P", *words])


if __name__ == "__main__":
    sys.exit(main())
