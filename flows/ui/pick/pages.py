"""What the page asks of its server. Who may ask is decided by the file server, which hands these requests on.

GET /pick/?capture=NAME           the page; without a name, the captures there are
GET /pick/about, /pick/picture    with &frame=N; what it shows
PUT /pick/prompt                  replaces prompt.json
"""

from __future__ import annotations

import hmac
import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from flows.records.places import capture_folder
from flows.ui.form_schema import offered_captures
from stages.core.errors import CaptureError, TwinError
from stages.marking import MarkedCapture

PREFIX = "/pick/"
MOST_BODY_BYTES = 1 << 20
SHOWN_WIDTH = 1600
"""px; marks are kept in px of the picture as captured all the same"""
FILES = {"page.js": "text/javascript", "page.css": "text/css"}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Reply:
    """Status, type and content of an answer."""

    status: int
    kind: str
    body: bytes


@dataclass(frozen=True)
class PickPages:
    """`folder_of` finds a capture by its name, `names` lists them; `key`, if any, has to be part of every address."""

    folder_of: Callable[[str], Path]
    names: Callable[[], list[str]]
    key: str = ""

    @classmethod
    def below(cls, root: Path) -> PickPages:
        """For all captures of the captures folder."""
        return cls(_inside, lambda: offered_captures(root))

    @classmethod
    def of(cls, capture: Path, key: str) -> PickPages:
        """For one capture, wherever it lies."""
        return cls(lambda name: capture, lambda: [capture.name], key)

    def answer(self, method: str, target: str, body: bytes = b"") -> Reply:
        """To one request."""
        parts = urlsplit(target)
        asked, what = dict(parse_qsl(parts.query)), parts.path.removeprefix(PREFIX)
        if method == "GET" and what in FILES:
            return Reply(200, FILES[what], _file(what))
        if not hmac.compare_digest(asked.get("key", "").encode(), self.key.encode()):
            return _text(403, "the address lacks its key: use the one that `twin pick` printed")
        try:
            return self._answer(method, what, asked, body)
        except TwinError as e:
            return _text(422, str(e))
        except (ValueError, RecursionError) as e:
            return _text(400, f"the request cannot be understood: {e}")

    def _answer(self, method: str, what: str, asked: dict[str, str], body: bytes) -> Reply:
        name = asked.get("capture", "")
        if (method, what) == ("GET", ""):
            return Reply(200, "text/html", _file("page.html") if name else self._list())
        capture = MarkedCapture.open(self.folder_of(name))
        match method, what:
            case "GET", "about":
                return _json({"name": name, "frames": capture.frames, "size": capture.size, "prompt": capture.prompt()})
            case "GET", "picture":
                return Reply(200, "image/jpeg", capture.jpeg(int(asked.get("frame", "0")), SHOWN_WIDTH))
            case "PUT", "prompt":
                capture.save(json.loads(body))
                return _json({"saved": True})
        return _text(404, "there is no such page")

    def _list(self) -> bytes:
        links = "".join(f'<li><a href="?capture={quote(n)}">{html.escape(n)}</a></li>' for n in self.names())
        body = f"<h1>Mark the object</h1><ul>{links}</ul>" if links else "<p>There is no capture yet.</p>"
        return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>captures</title><main>{body}</main></html>'.encode()


def is_allowed(host: str, auth: str) -> bool:
    """Pictures are shown and prompts written on this machine only, or behind a password."""
    return bool(auth) or host.startswith("127.") or host in ("localhost", "::1")


def _inside(name: str) -> Path:
    if not name or Path(name).is_absolute() or name.startswith("~"):
        raise CaptureError(f"{name or 'nothing'} is no name of a capture", "choose one of the list")
    return capture_folder(name)


def _file(name: str) -> bytes:
    return resources.files("flows.ui.pick").joinpath(name).read_bytes()


def _json(data: object) -> Reply:
    return Reply(200, "application/json", json.dumps(data).encode())


def _text(status: int, text: str) -> Reply:
    return Reply(status, "text/plain", text.encode())
