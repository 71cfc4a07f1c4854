"""`twin serve`."""

from __future__ import annotations

import argparse
import os
import signal
import threading

from flows.serve import Serving, Supervisor
from stages.core.errors import ConfigError
from stages.core.store import Store


def serve(args: argparse.Namespace) -> int:
    """Server, workers, files and watcher until Ctrl-C."""
    auth = args.auth or os.environ.get("TWIN_AUTH", "")
    if auth and ":" not in auth:
        raise ConfigError("--auth has no colon", "give user:password, or set TWIN_AUTH")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    Supervisor(Serving(args.host, args.port, args.files_port or args.port + 1, args.runs, auth), Store(), _say, stop).run()
    print("stopped")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
