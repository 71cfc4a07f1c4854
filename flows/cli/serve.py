"""`twin serve` and `twin schedule`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from flows.run.admission import limit_of
from flows.serve.supervisor import Serving, Supervisor
from flows.web.address import home, read_address, use_server
from flows.web.embedded_server import answers
from flows.web.library_versions import refuse_faulty_libraries
from flows.web.open_page import link
from flows.web.password import given_password, kept_password
from stages.core.bucket import is_address
from stages.core.errors import ConfigError, TwinError
from stages.core.store import Store


def serve(args: argparse.Namespace) -> int:
    """Server, workers, files and watcher until Ctrl-C."""
    if args.link:
        return _print_link()
    refuse_faulty_libraries()
    limit_of(args.runs)
    auth, made = _password(args)
    if args.keep_gb is not None:
        os.environ["TWIN_KEEP_GB"] = str(args.keep_gb)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    serving = Serving(args.host, args.port, args.files_port or args.port + 1, args.runs, auth=auth)
    Supervisor(serving, Store(), _say, stop, entrance=_entrance(serving, made)).run()
    print("stopped")
    return 0


def _password(args: argparse.Namespace) -> tuple[str, bool]:
    """user:password, or empty; and whether it is one of our making."""
    given = args.auth or os.environ.get("TWIN_AUTH", "")
    if given and args.no_password:
        raise ConfigError(
            "--no-password beside a password", "leave out one of them: --no-password, or TWIN_AUTH and --auth"
        )
    if given:
        return given_password(given), False
    if args.no_password:
        return "", False
    folder = home(Store())
    folder.mkdir(parents=True, exist_ok=True)
    return kept_password(folder / "password"), True


def _entrance(serving: Serving, made: bool) -> str:
    """What is said of the UI's address. A password is for the eyes at a terminal, not for a log."""
    if made and sys.stdout.isatty():
        return link(serving.ui, serving.auth)
    how = "`twin serve --link` prints the address that logs a browser in" if made else "user and password required"
    return f"{serving.ui}   ({how})" if serving.auth else ""


def _print_link() -> int:
    address = read_address(Store())
    if address is None or not answers(address.api, 5.0):
        raise TwinError(f"no `twin serve` of the store {Store().root} runs", "start one: twin serve")
    print(link(address.ui, address.auth))
    return 0


def schedule(args: argparse.Namespace) -> int:
    """A batch at fixed times, kept by the server: made, listed, removed."""
    root = _root(args.root)
    use_server(Store())  # before Prefect is imported, which reads the environment then
    from flows.serve.schedules import list_schedules, remove_schedules, set_schedule

    if args.remove is not None:
        gone = remove_schedules(args.remove)
        print(f"removed {len(gone)} schedules of reconstruct-batch{': ' * bool(gone)}{', '.join(gone)}")
        return 0
    if args.list:
        print("\n".join(map(str, list_schedules())) or "there is no schedule of reconstruct-batch")
        return 0
    if not args.cron:
        raise ConfigError(
            "no time is given", "for every night at two: twin schedule --cron '0 2 * * *' --timezone Europe/Berlin"
        )
    name = set_schedule(args.cron, args.timezone, {"root": root, "profile": args.profile}, args.name)
    print(f"{name}: reconstruct-batch runs at '{args.cron}' ({args.timezone})")
    for other in (s for s in list_schedules() if s.name != name):
        print(f"there is also {other}\n  (twin schedule --remove {other.name} takes it away)")
    return 0


def _root(text: str) -> str:
    """The folder with captures as every worker finds it; empty for the captures folder. Raises ConfigError if it is none."""
    if not text or is_address(text):
        return text
    folder = Path(text).expanduser().resolve()
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ConfigError(
            f"--root {folder}: expected a folder with captures, found {found}",
            "make it or mend the path; all machines with workers have to see it under the same one",
        )
    return str(folder)


def _say(text: str) -> None:
    print(text, flush=True)
