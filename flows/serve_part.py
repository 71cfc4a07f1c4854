"""One part of `twin serve`: python -m flows.serve_part PARENT_PID PART [arguments]."""

from __future__ import annotations

import base64
import functools
import hmac
import http.server
import os
import signal
import sys
import time
import warnings
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from flows.places import twins_root
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

    from flows.sqlite_database import lock_transactions_from_the_beginning

    lock_transactions_from_the_beginning()
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

    warnings.filterwarnings("ignore", "Type 'OneProcessPerRun'")      # that it takes the place of Prefect's own is meant
    from flows.worker import OneProcessPerRun

    asyncio.run(OneProcessPerRun(work_pool_name=pool, limit=int(limit), name=f"{pool}-{os.uname().nodename}").start())


def register() -> None:
    """Deployments, pools, crash watch."""
    from flows.deployments import register as register_all

    register_all()


def files(host: str, port: str) -> None:
    """The twins, read only, without listing folders, with the password of the API if there is one."""
    auth = os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "")
    handler = functools.partial(_TwinFiles, directory=str(twins_root()), auth=auth)
    http.server.ThreadingHTTPServer((host, int(port)), handler).serve_forever()


class _TwinFiles(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args, auth: str, **kwargs) -> None:
        self._wanted = f"Basic {base64.b64encode(auth.encode()).decode()}" if auth else ""
        super().__init__(*args, **kwargs)                # which answers the request

    def send_head(self):
        if self._wanted and not hmac.compare_digest(self.headers.get("Authorization", "").encode(), self._wanted.encode()):
            return self._ask_for_password()
        if any(part.startswith(".") for part in unquote(urlsplit(self.path).path).split("/")):
            return self.send_error(HTTPStatus.NOT_FOUND)
        return super().send_head()

    def list_directory(self, path):
        self.send_error(HTTPStatus.FORBIDDEN, "folders are not listed")

    def _ask_for_password(self) -> None:
        self.send_response(HTTPStatus.UNAUTHORIZED)
        self.send_header("WWW-Authenticate", 'Basic realm="twins", charset="UTF-8"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args) -> None:
        """The terminal belongs to others."""


def watcher() -> None:
    """Starts a run for each capture whose READY marker appears, brings back runs that lost their process, offers captures in the
    form, and keeps the store below its size."""
    from prefect.client.orchestration import get_client

    from flows.arrivals import Arrivals
    from flows.cleaning import Keeper
    from flows.deployments import CaptureOffer
    from flows.recovery import Recovery

    keeper = Keeper.from_environment(Store())
    with get_client(sync_client=True) as client:
        arrivals, recovery, offer = Arrivals(client, Store()), Recovery(client, Store()), CaptureOffer(client)
        while True:
            offer.look()
            arrivals.look()
            for line in recovery.look():
                print(line, flush=True)      # noqa: T201 - into the part's log
            if (removed := keeper.look()) and removed.folders:
                print(f"removed {removed.folders} results, {removed.bytes / 1e9:.1f} GB", flush=True)      # noqa: T201
            time.sleep(LOOK_FOR_CAPTURES_EVERY_S)


PARTS = {"server": server, "worker": worker, "register": register, "files": files, "watcher": watcher}


def main() -> None:
    """Run one part until it is told to stop."""
    # started in the background by some shells, SIGINT is ignored, and so would be a worker's polite end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent(int(sys.argv[1]))
    PARTS[sys.argv[2]](*sys.argv[3:])


if __name__ == "__main__":
    main()
