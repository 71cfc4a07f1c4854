"""One caller of a Prefect API, as a program sees it: password, and a token against forged requests with each change."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from typing import Any


class ApiClient:
    """`auth`: user:password, or empty. `url` ends with /api."""

    def __init__(self, url: str, auth: str) -> None:
        self.url = url
        self._password = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
        self._token: dict[str, str] = {}
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __call__(self, path: str, body: dict | None = None, method: str | None = None) -> Any:
        """One call; what it answers. Raises HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        if (data is not None or method not in (None, "GET")) and not self._token:
            self._fetch_token()
        while True:
            request = urllib.request.Request(
                self.url + path,
                data,
                {"Content-Type": "application/json", **self._password, **self._token},
                method=method,
            )
            try:
                with self._direct.open(request, timeout=30) as reply:
                    text = reply.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as e:
                if e.code != 503:  # "busy, ask again": Prefect's own clients do the same
                    raise
                time.sleep(0.5)

    def _fetch_token(self) -> None:
        """Good for an hour."""
        name = f"test-{id(self)}"
        self._token = {"Prefect-Csrf-Client": name}
        self._token["Prefect-Csrf-Token"] = self(f"/csrf-token?client={name}")["token"]
