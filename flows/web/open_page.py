"""The page /open of the API server: a link with the password behind its # logs a browser in, to the UI and to the twins' files.

What stands behind # stays in the browser: no server, proxy or log sees it. Prefect's UI takes its password from the browser's local
storage. The twins' files come from another port, so they are opened by a cookie that holds a digest of the password, not itself.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from flows.web.guard import App, Message, answer
from flows.web.password import cookie_name, cookie_value, is_authorized

PATH, FILES_PATH = "/open", "/open/files"
COOKIE_S = 30 * 24 * 3600
SCRIPT = """
const said = document.getElementById("said")
async function enter() {
  const word = decodeURIComponent(location.hash.slice(1))
  history.replaceState(null, "", "/open")
  if (!word) { said.textContent = "This address lacks what follows #. `twin serve --link` prints it whole."; return }
  const coded = btoa(String.fromCharCode(...new TextEncoder().encode(word)))
  const reply = await fetch("/open/files", {method: "POST", headers: {Authorization: "Basic " + coded}})
  if (!reply.ok) { said.textContent = "This link is not valid, or no longer. `twin serve --link` prints the one that is."; return }
  localStorage.setItem("prefect-password", coded)
  location.replace("/")
}
enter().catch(e => { said.textContent = "The server does not answer: " + e })
"""
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>stereotwin</title></head>
<body><p id="said">Opening ...</p><script>{SCRIPT}</script></body></html>
"""
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": f"default-src 'none'; script-src 'sha256-{_DIGEST}'; connect-src 'self'; frame-ancestors 'none'",
}


def link(ui: str, auth: str) -> str:
    """Address that logs a browser in; the UI's own without a password."""
    return f"{ui}{PATH}#{quote(auth, safe=':')}" if auth else ui


class WithOpenPage:
    """The ASGI application of the server, and that page. `auth`: user:password, or empty."""

    def __init__(self, app: App, auth: str, files_port: str) -> None:
        self._app, self._auth, self._files_port = app, auth, files_port

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Two addresses are answered here."""
        asked = (scope["method"], scope["path"]) if scope["type"] == "http" else ("", "")
        if asked == ("GET", PATH):
            return await self._page(send)
        if asked == ("POST", FILES_PATH):
            return await self._enter(scope, send)
        await self._app(scope, receive, send)

    async def _page(self, send: Callable[[Message], Awaitable[None]]) -> None:
        if not self._auth:
            return await answer(send, 307, "", {"location": "/"})
        await answer(send, 200, PAGE, HEADERS)

    async def _enter(self, scope: Message, send: Callable[[Message], Awaitable[None]]) -> None:
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        if not self._auth or not is_authorized(self._auth, header):
            return await answer(send, 401, "this is not the password\n")
        cookie = f"{cookie_name(self._files_port)}={cookie_value(self._auth)}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict"
        await answer(send, 200, "opened\n", {"set-cookie": cookie, "cache-control": "no-store"})
