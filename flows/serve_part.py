"""One part of `twin serve`: python -m flows.serve_part PARENT_PID PART [arguments]."""

from __future__ import annotations

import functools
import http.server
import os
import signal
import sys
import time
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from flows.places import captures_root, twins_root
from flows.stage_child import die_with_parent
from stages.core.store import Store

LOOK_FOR_CAPTURES_EVERY_S = 3.0
CONTENT_POLICY = "connect-src 'self' ws: wss:; img-src 'self' data: blob: http: https:"
"""the UI may talk to this server only: its JavaScript would otherwise report page views to a vendor, whatever the settings say"""


def server(host: str, port: str) -> None:
    """API, UI and background services."""
    os.environ["PREFECT__SERVER_FINAL"] = "1"
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(final=True)

    @app.middleware("http")
    async def confine(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = CONTENT_POLICY
        return response

    uvicorn.run(app, host=host, port=int(port), log_level="warning", access_log=False, timeout_graceful_shutdown=3)


def worker(pool: str, limit: str) -> None:
    """Starts the flow runs of a pool, each in a process of its own."""
    import asyncio

    from prefect.workers.process import ProcessWorker

    asyncio.run(ProcessWorker(work_pool_name=pool, limit=int(limit), name=f"{pool}-{os.uname().nodename}").start())


def register() -> None:
    """Deployments, pools, crash watch."""
    from flows.deployments import register as register_all

    register_all()


def files(host: str, port: str) -> None:
    """The twins, read only, without listing folders."""
    handler = functools.partial(_TwinFiles, directory=str(twins_root()))
    http.server.ThreadingHTTPServer((host, int(port)), handler).serve_forever()


class _TwinFiles(http.server.SimpleHTTPRequestHandler):
    def list_directory(self, path):
        self.send_error(HTTPStatus.FORBIDDEN, "folders are not listed")

    def do_GET(self) -> None:
        if any(part.startswith(".") for part in unquote(urlsplit(self.path).path).split("/")):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        super().do_GET()

    def log_message(self, *args) -> None:
        """The terminal belongs to others."""


def watcher() -> None:
    """Starts a run for each capture whose READY marker appears, and brings back runs that lost their process."""
    from prefect.client.orchestration import get_client

    from flows.recovery import Recovery

    seen: set[str] = set()
    with get_client(sync_client=True) as client:
        recovery = Recovery(client, Store())
        while True:
            _start_new_captures(seen)
            for line in recovery.look():
                print(line, flush=True)      # noqa: T201 - into the part's log
            time.sleep(LOOK_FOR_CAPTURES_EVERY_S)


def _start_new_captures(seen: set[str]) -> None:
    """Prefect's idempotency key makes it one run per marker, whoever asks and however often."""
    from prefect.deployments import run_deployment

    from flows.batch import DEPLOYMENT, is_done, parameters_of, start_key
    from flows.ready import ready_captures

    for capture in ready_captures(captures_root()):
        if capture.key not in seen and not is_done(capture, "standard", ()):
            run_deployment(DEPLOYMENT, parameters=parameters_of(capture, "standard", ()), timeout=0,
                           idempotency_key=start_key(capture, "standard", ()))
        seen.add(capture.key)


PARTS = {"server": server, "worker": worker, "register": register, "files": files, "watcher": watcher}


def main() -> None:
    """Run one part until it is told to stop."""
    # started in the background by some shells, SIGINT is ignored, and so would be a worker's polite end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent(int(sys.argv[1]))
    PARTS[sys.argv[2]](*sys.argv[3:])


if __name__ == "__main__":
    main()
