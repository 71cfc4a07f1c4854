"""The password of one store's `twin serve`: made when it is first started, kept in a file that only its owner may read.

"user:password" is called `auth` here, as Prefect calls it. It is sent with each request (HTTP basic authentication).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from flows.web.deploy_secrets import PLACEHOLDER
from stages.core.errors import ConfigError, StoreError

USER = "twin"
BYTES = 24
COOKIE = "twin-files"


def kept_password(path: Path) -> str:
    """The auth in this file, which is made if need be. One that others may have read is replaced. Raises StoreError."""
    try:
        if path.exists() and path.stat().st_mode & 0o077:
            path.unlink()
        with contextlib.suppress(FileExistsError):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{USER}:{secrets.token_urlsafe(BYTES)}\n")
        auth = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as e:
        raise StoreError(
            f"the password in {path} cannot be read or written: {e}", "mend that, or remove it: a new one is made"
        ) from e
    user, _, password = auth.partition(":")
    if not user or not password or len(auth.splitlines()) != 1:
        raise StoreError(
            f"{path} holds no password: expected one line user:password", "remove the file: a new one is made"
        )
    return auth


def given_password(text: str) -> str:
    """An auth that somebody wrote. Raises ConfigError, without repeating it."""
    user, _, password = text.partition(":")
    if not user or not password:
        raise ConfigError(
            "TWIN_AUTH, or --auth, is not user:password",
            "write both, with a colon between them; without it, one is made",
        )
    if PLACEHOLDER.search(password):
        raise ConfigError(
            "TWIN_AUTH, or --auth, is still the example's",
            "write a password of your own; without TWIN_AUTH, one is made",
        )
    return text


def authorization(auth: str) -> str:
    """Value of the header Authorization."""
    return f"Basic {base64.b64encode(auth.encode()).decode()}"


def is_authorized(auth: str, header: str | None) -> bool:
    """Whether the header Authorization holds this auth; always without one."""
    return not auth or hmac.compare_digest((header or "").encode(), authorization(auth).encode())


def cookie_value(auth: str) -> str:
    """What lets a browser read the twins' files. It does not tell the password: cookies go to every port of a host."""
    return hmac.new(auth.encode(), b"files of twins", hashlib.sha256).hexdigest()


def cookie_name(files_port: str) -> str:
    """One for each `twin serve` of a host, by the port of its files."""
    return f"{COOKIE}-{files_port}"


def has_cookie(auth: str, header: str | None, files_port: str) -> bool:
    """Whether the header Cookie lets its sender read the files."""
    try:
        found = SimpleCookie(header or "").get(cookie_name(files_port))
    except CookieError:
        return False
    return found is not None and hmac.compare_digest(found.value.encode(), cookie_value(auth).encode())
