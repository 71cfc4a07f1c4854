"""Who asked the API server for a change: one JSON line for each, into the file TWIN_AUDIT_FILE names, else to the server's output.

What workers and runs report of themselves is left out: only what starts, ends, changes or removes something by somebody's wish.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from flows.web.guard import App, Message

FILE, USER_HEADER = "TWIN_AUDIT_FILE", "TWIN_PROXY_USER"
"""the second names a header in which a proxy says who has signed in, such as X-Forwarded-User"""
MOST_BODY = 64 << 10
CHANGES = ("POST", "PUT", "PATCH", "DELETE")
_READS = re.compile(
    r"/(filter|count|paginate|history|lateness|ui/.*|scheduled|next-runs|csrf-token|filter-minimal)$|/ui/|/logs/|/events"
)
_BY_PROGRAMS = re.compile(r"/create_flow_run$|/schedules(/|$)|/automations(/|$)|/block_documents(/|$)")
"""what is told of Prefect's own clients too: `twin schedule`, `twin notify`, watcher and batch are such"""


class WithAudit:
    """An ASGI application of which it is told what it was asked to change, once it has answered."""

    def __init__(self, app: App, tell: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._app, self._tell = app, tell or tell_line

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """As the application."""
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope.get("headers", [])}
        if scope["type"] != "http" or not is_told(scope["method"], scope["path"], headers.get("user-agent", "")):
            return await self._app(scope, receive, send)
        asked, answered, status = bytearray(), bytearray(), 0

        async def heard() -> Message:
            message = await receive()
            asked.extend(message.get("body", b"")[: MOST_BODY - len(asked)])
            return message

        async def said(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            answered.extend(message.get("body", b"")[: MOST_BODY - len(answered)])
            await send(message)

        # an answer that is packed could not be read here
        plain = {**scope, "headers": [(k, v) for k, v in scope["headers"] if k.lower() != b"accept-encoding"]}
        await self._app(plain, heard, said)
        client = scope.get("client") or ("", 0)
        self._tell(
            {
                "time": round(time.time(), 3),
                "user": user_of(headers),
                "from": client[0],
                **_forwarded(headers),
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                **_what(bytes(asked), bytes(answered)),
            }
        )


def is_told(method: str, path: str, agent: str) -> bool:
    """Whether a request is somebody's wish to change something."""
    if method not in CHANGES or _READS.search(path):
        return False
    return not agent.startswith("prefect/") or bool(_BY_PROGRAMS.search(path))


def user_of(headers: Mapping[str, str]) -> str:
    """Who a proxy says has signed in, else the user of the password; empty without one."""
    if (name := os.environ.get(USER_HEADER, "").lower()) and (said := headers.get(name)):
        return said
    kind, _, coded = headers.get("authorization", "").partition(" ")
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        if kind.lower() == "basic":
            return base64.b64decode(coded).decode().partition(":")[0]
    return ""


def tell_line(entry: dict[str, Any]) -> None:
    """One line of JSON. A full disk must not keep the server from answering."""
    line = json.dumps(entry) + "\n"
    path = os.environ.get(FILE)
    with contextlib.suppress(OSError):
        if not path:
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
            file.write(line)


def read_entries(path: Path) -> list[dict[str, Any]]:
    """All that is told in a file, oldest first; a line that is no entry, cut off by a power cut say, is left out."""
    entries = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("time"), int | float):
                    entries.append(entry)
    return entries


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    return {"forwarded_for": said} if (said := headers.get("x-forwarded-for")) else {}


def _what(asked: bytes, answered: bytes) -> dict[str, str]:
    """The state that was asked for, and the id and name of what was made or changed."""
    found: dict[str, str] = {}
    wish, made = _object(asked), _object(answered)
    if isinstance(state := wish.get("state"), dict):
        found["state"] = str(state.get("name") or state.get("type") or "")
    for key in ("id", "name"):
        if isinstance(made.get(key), str):
            found[key] = made[key]
    return found


def _object(data: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        if isinstance(found := json.loads(data), dict):
            return found
    return {}
