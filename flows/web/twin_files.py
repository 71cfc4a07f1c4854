"""The file server: the twins, read only, without listing folders, with the password of the API if there is one; pages of `pick`; /metrics.

A link that leads out of the twins' folder is not followed. Connections that send no request are ended, and there is a bound on how many
there are at once, so that nobody can take the memory or the threads of the machine by opening thousands.
"""

from __future__ import annotations

import http.server
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from flows.records.places import PICK_URL, captures_root
from flows.ui.pick.pages import MOST_BODY_BYTES, POLICY, PREFIX, PickPages, Reply, is_allowed
from flows.web.guard import Allowed
from flows.web.password import has_cookie, is_authorized

REQUEST_WITHIN_S = 10.0
"""from the connection to the last line of its request"""
STALLED_AFTER_S = 30.0
"""no byte could be sent or read for so long"""
MOST_CONNECTIONS = 64
METRICS, METRICS_KIND = "/metrics", "text/plain; version=0.0.4"


@dataclass(frozen=True)
class Shown:
    """What is shown to whom."""

    root: Path | None
    """None: no files"""
    allowed: Allowed
    auth: str = ""
    pick: PickPages | None = None
    """the pages on which objects are marked"""
    metrics: Callable[[], str] | None = None
    """what /metrics answers; None: nothing of that name but a file"""


class TwinFileServer(http.server.ThreadingHTTPServer):
    """One thread for each of at most MOST_CONNECTIONS connections; beyond that the one that has waited longest goes."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], shown: Shown) -> None:
        self.shown = shown
        self._waiting: dict[socket.socket, float] = {}
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request, client_address) -> None:
        """Make room first."""
        with self._lock:
            if len(self._open) >= MOST_CONNECTIONS and self._waiting:
                self._end(min(self._waiting, key=lambda s: self._waiting[s]))
            full = len(self._open) >= MOST_CONNECTIONS
            if not full:
                self._open.add(request)
                self._waiting[request] = time.monotonic()
        if full:
            return super().shutdown_request(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        """Also forget it."""
        with self._lock:
            self._open.discard(request)
            self._waiting.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called twice a second: end those that take too long with their request, a byte at a time too."""
        with self._lock:
            now = time.monotonic()
            for connection in [c for c, since in self._waiting.items() if now - since > REQUEST_WITHIN_S]:
                self._end(connection)

    def answering(self, connection: socket.socket) -> None:
        """Its request is whole."""
        with self._lock:
            self._waiting.pop(connection, None)

    def handle_error(self, request, client_address) -> None:
        """A client that went away, or was sent away, is no error of ours."""

    def _end(self, connection: socket.socket) -> None:
        """Its thread then reads an end, and closes it."""
        self._waiting.pop(connection, None)
        self._open.discard(connection)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended by itself
            pass


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: TwinFileServer
    timeout = STALLED_AFTER_S

    def send_head(self) -> IO[bytes] | None:
        """The file, opened, its headers sent; None after an error, or after a page that was sent whole."""
        if not self._may_ask():
            return None
        shown = self.server.shown
        if shown.pick is not None and self.path.startswith(PREFIX):
            self._send(shown.pick.answer("GET", self.path))
            return None
        if shown.metrics is not None and urlsplit(self.path).path == METRICS:
            self._send(Reply(HTTPStatus.OK, METRICS_KIND, shown.metrics().encode()))
            return None
        names = unquote(urlsplit(self.path).path).split("/")
        hidden = shown.root is None or any(n.startswith(".") or "\0" in n for n in names)
        file = None if hidden or shown.root is None else open_inside(shown.root, Path(*filter(None, names)))
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        about = os.fstat(file.fileno())
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(names[-1]))
        self.send_header("Content-Length", str(about.st_size))
        self.send_header("Last-Modified", self.date_time_string(about.st_mtime))
        self.end_headers()
        return file

    def do_PUT(self) -> None:
        """What a page of `pick` saves."""
        pick, said = self.server.shown.pick, self.headers.get("Content-Length", "")
        length = int(said) if said.isdigit() else MOST_BODY_BYTES + 1
        if not self._may_ask():
            self.close_connection = True
        elif pick is None or not self.path.startswith(PREFIX) or length > MOST_BODY_BYTES:
            self.send_error(HTTPStatus.NOT_FOUND if length <= MOST_BODY_BYTES else HTTPStatus.CONTENT_TOO_LARGE)
            self.close_connection = True
        else:
            self._send(pick.answer("PUT", self.path, self.rfile.read(length)))

    def end_headers(self) -> None:
        """No page elsewhere may show or read what is here."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header(
            "Content-Security-Policy", POLICY if self.path.startswith(PREFIX) else "frame-ancestors 'none'"
        )
        super().end_headers()

    def _may_ask(self) -> bool:
        """Whether the request is answered; an error is sent if not."""
        self.server.answering(self.connection)
        if why := self.server.shown.allowed.why_refused(
            self.command, ((k.lower(), v) for k, v in self.headers.items())
        ):
            self.send_error(HTTPStatus.FORBIDDEN, "Refused", why)
            return False
        if not self._is_known():
            self._ask_for_password()
            return False
        return True

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header(
            "Content-Type", f"{reply.kind}; charset=utf-8" if reply.kind.startswith("text/") else reply.kind
        )
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def _is_known(self) -> bool:
        auth, port = self.server.shown.auth, str(self.server.server_address[1])
        return is_authorized(auth, self.headers.get("Authorization")) or has_cookie(
            auth, self.headers.get("Cookie"), port
        )

    def _ask_for_password(self) -> None:
        self.send_response(HTTPStatus.UNAUTHORIZED)
        self.send_header("WWW-Authenticate", 'Basic realm="twins", charset="UTF-8"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args) -> None:
        """The terminal belongs to others."""


def open_inside(root: Path, name: Path) -> IO[bytes] | None:
    """A regular file below `root`, opened; None if there is none of that name, or if its name leads elsewhere by a link.

    Where it lies is asked of the open file: a folder that becomes a link meanwhile cannot deceive.
    """
    try:
        number = os.open(
            root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # a pipe without a writer must not wait
    except OSError:
        return None
    file = os.fdopen(number, "rb") if stat.S_ISREG(os.fstat(number).st_mode) else None
    if file is not None and Path(f"/proc/self/fd/{number}").readlink().is_relative_to(root.resolve()):
        return file
    file.close() if file is not None else os.close(number)
    return None


def serve(host: str, port: int, root: Path | None, auth: str, metrics: Callable[[], str] | None = None) -> None:
    """Until the process is ended. Without a `root`, no files."""
    pick = PickPages.below(captures_root()) if os.environ.get(PICK_URL) and is_allowed(host, auth) else None
    shown = Shown(root, Allowed.at(host, address=os.environ.get("TWIN_FILES_URL", "")), auth, pick, metrics=metrics)
    TwinFileServer((host, port), shown).serve_forever()
