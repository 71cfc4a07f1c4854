"""`twin pick`: a page of one capture on which the object is marked, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import quote

from flows.ui.pick.pages import PREFIX, PickPages, is_allowed
from flows.web.address import home
from flows.web.guard import Allowed
from flows.web.password import given_password, kept_password
from flows.web.twin_files import Shown, TwinFileServer
from stages.core.errors import StoreError
from stages.core.store import Store
from stages.marking import MarkedCapture

KEY_BYTES = 16


def pick(args: argparse.Namespace) -> int:
    """Serve the page and print its address. Raises CaptureError for a folder that is no capture."""
    capture = Path(args.capture).expanduser().resolve()
    MarkedCapture.open(capture)
    auth = _auth(args.host)
    key = secrets.token_urlsafe(KEY_BYTES)
    shown = Shown(None, Allowed.at(args.host), auth, PickPages.of(capture, key))
    try:
        server = TwinFileServer((args.host, args.port), shown)
    except OSError as e:
        raise StoreError(
            f"port {args.port} of {args.host} cannot be used: {e.strerror}", "choose another with --port"
        ) from e
    with server:
        port = server.server_address[1]
        print(f"http://{args.host}:{port}{PREFIX}?capture={quote(capture.name)}&key={key}", flush=True)
        print(
            f"draw, and press Save: {capture / 'prompt.json'} is written. Ctrl-C ends this.{_who(auth)}",
            file=sys.stderr,
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def _auth(host: str) -> str:
    """None on this machine, where the address holds a key; else the password of `twin serve`."""
    if is_allowed(host, ""):
        return ""
    if given := os.environ.get("TWIN_AUTH", ""):
        return given_password(given)
    folder = home(Store())
    folder.mkdir(parents=True, exist_ok=True)
    return kept_password(folder / "password")


def _who(auth: str) -> str:
    return f" The browser asks for user {auth.partition(':')[0]} and the password of `twin serve`." if auth else ""
