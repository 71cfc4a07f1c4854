"""Who may ask our web servers: a program that names one of our hosts, and a web page that came from the same server.

A browser carries requests of any page it shows to any address it can reach, this machine's too. Two facts that a page cannot forge tell
such a request: Host is the name in its address (a name that its owner points at us, DNS rebinding, is not one of ours), Origin and
Sec-Fetch-Site say where the page came from. Programs send neither of the last two. The password is asked for besides.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")
SETTING = "TWIN_ALLOWED_HOSTS"
Headers = Iterable[tuple[str, str]]
Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True)
class Allowed:
    """Names that Host may hold, without a port; any number address too, if `addresses` (a page of another name cannot send one);
    origins of pages beside our own."""

    hosts: frozenset[str]
    addresses: bool = False
    origins: frozenset[str] = frozenset()

    @classmethod
    def at(cls, host: str, origins: str = "", address: str = "") -> Allowed:
        """For a server bound to `host`, which browsers reach at the URL `address`. The names in TWIN_ALLOWED_HOSTS are allowed as well.
        `origins`: separated by commas."""
        more = {name.strip().lower() for name in os.environ.get(SETTING, "").split(",") if name.strip()}
        more |= {name} if (name := urlsplit(address).hostname) else set()
        everywhere = host in EVERYWHERE
        own = {socket.gethostname().lower(), socket.getfqdn().lower()} if everywhere else {host.lower()}
        pages = {o.strip().rstrip("/").lower() for o in origins.split(",")} - {"", "*"}
        return cls(frozenset({*LOOPBACK, *own, *more}), everywhere, frozenset(pages))

    def why_refused(self, method: str, headers: Headers) -> str:
        """The reason, or empty. Header names in lower case."""
        said: dict[str, list[str]] = {}
        for name, value in headers:
            said.setdefault(name, []).append(value.strip().lower())
        hosts = said.get("host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return f"{', '.join(hosts) or 'no Host'} is not a name of this server. {SETTING} may list more, separated by commas."
        origins = said.get("origin", [])
        own = {f"http://{hosts[0]}", f"https://{hosts[0]}", *self.origins}
        if foreign := [o for o in origins if o not in own]:
            return f"a page of {', '.join(foreign)} may not use this server"
        sites = set(said.get("sec-fetch-site", [])) - {"none", "same-origin"}
        if sites and not origins and not _is_visit(method, said):
            return "a page of another site may not use this server"
        return ""

    def _is_ours(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
        return name.rstrip(".") in self.hosts or (self.addresses and _is_address(name))


class Guard:
    """An ASGI application behind `Allowed`; `headers` are added to all that it answers."""

    def __init__(self, app: App, allowed: Allowed, headers: dict[str, str]) -> None:
        self._app, self._allowed = app, allowed
        self._headers = [(k.lower().encode(), v.encode()) for k, v in headers.items()]

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Requests and websockets alike; the rest is the server's own business."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", [])}
                message["headers"] = [*message.get("headers", []), *(h for h in self._headers if h[0] not in there)]
            await send(message)

        asked = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
        why = self._allowed.why_refused(scope.get("method", "GET"), asked)
        if not why:
            return await self._app(scope, receive, send_with_headers)
        if scope["type"] == "websocket":
            return await send(
                {"type": "websocket.close", "code": 1008, "reason": ""}
            )  # before it was accepted: status 403
        await answer(send_with_headers, 403, f"Refused: {why}\n")


async def answer(
    send: Callable[[Message], Awaitable[None]], status: int, text: str, headers: Mapping[str, str] = {}
) -> None:
    """A whole answer of an ASGI application; plain text unless `headers` say otherwise."""
    body = text.encode()
    every = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **headers}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(k.encode(), v.encode()) for k, v in every.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _is_visit(method: str, said: dict[str, list[str]]) -> bool:
    """A link that was followed: it shows our page to its reader, and tells the other page nothing."""
    return (
        method in ("GET", "HEAD")
        and said.get("sec-fetch-mode") == ["navigate"]
        and said.get("sec-fetch-dest") == ["document"]
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
