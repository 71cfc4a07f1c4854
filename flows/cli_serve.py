"""`twin serve` and `twin schedule`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading

from flows.embedded_server import answers
from flows.serve import Serving, Supervisor
from stages.core.errors import ConfigError, TwinError
from stages.core.store import Store


def serve(args: argparse.Namespace) -> int:
    """Server, workers, files and watcher until Ctrl-C."""
    auth = args.auth or os.environ.get("TWIN_AUTH", "")
    if auth and ":" not in auth:
        raise ConfigError("--auth has no colon", "give user:password, or set TWIN_AUTH")
    if args.keep_gb is not None:
        os.environ["TWIN_KEEP_GB"] = str(args.keep_gb)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    Supervisor(Serving(args.host, args.port, args.files_port or args.port + 1, args.runs, auth), Store(), _say, stop).run()
    print("stopped")
    return 0


def schedule(args: argparse.Namespace) -> int:
    """A batch at fixed times, kept by the server; `--remove` takes all of them away."""
    os.environ["PREFECT_API_URL"] = server_address(Store())       # before Prefect is imported, which reads it then
    if auth := os.environ.get("TWIN_AUTH"):
        os.environ.setdefault("PREFECT_API_AUTH_STRING", auth)
    from flows.schedules import clear_schedules, set_schedule

    if args.remove:
        print(f"removed {clear_schedules()} schedules of reconstruct-batch")
        return 0
    if not args.cron:
        raise ConfigError("no time is given", "for every night at two: twin schedule --cron '0 2 * * *' --timezone Europe/Berlin")
    set_schedule(args.cron, args.timezone, {"root": args.root, "profile": args.profile})
    print(f"reconstruct-batch runs at '{args.cron}' ({args.timezone})")
    return 0


def server_address(store: Store) -> str:
    """The API to talk to: PREFECT_API_URL, else that of the `twin serve` of this store. Raises TwinError if there is none."""
    path = store.root / "prefect" / "serve" / "address.json"
    url = os.environ.get("PREFECT_API_URL") or (json.loads(path.read_text())["api"] if path.exists() else "")
    if not url or not answers(url, 5.0):
        raise TwinError("no Prefect server answers" + (f" at {url}" if url else ""), "start one with `twin serve`, or set PREFECT_API_URL")
    return url


def _say(text: str) -> None:
    print(text, flush=True)
