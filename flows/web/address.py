"""Where the `twin serve` of a store is and how it is entered, for all that use the same store: `<store>/prefect/serve/address.json`,
which only its owner may read. It is there as long as that runs; a lock tells a live one from one that was killed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from flows.records.saved import Unreadable, read_object, saved_as
from flows.web.embedded_server import answers
from flows.web.password import authorization
from stages.core.errors import StoreError, TwinError
from stages.core.file_locks import try_lock
from stages.core.store import Store


@dataclass(frozen=True)
class Address:
    """`auth` is user:password or empty."""

    ui: str = ""
    api: str = ""
    pid: int = 0
    host: str = ""
    auth: str = ""


def home(store: Store) -> Path:
    """Where `twin serve` keeps its state: Prefect's database, logs, the password."""
    return store.root / "prefect" / "serve"


def audit_file(store: Store) -> Path:
    """Where the API server of `twin serve` writes who asked for which change."""
    return home(store) / "audit.jsonl"


def read_address(store: Store) -> Address | None:
    """Of the `twin serve` that runs, or ran last and was killed; None without one."""
    path = home(store) / "address.json"
    try:
        return saved_as(Address, read_object(path), path)
    except (FileNotFoundError, Unreadable):
        return None


@contextlib.contextmanager
def holding(store: Store, ui: str, api: str, auth: str) -> Iterator[None]:
    """Inside, this process is the `twin serve` of the store. Raises StoreError if another one is."""
    folder = home(store)
    folder.mkdir(parents=True, exist_ok=True)
    lock = try_lock(folder / "serve.lock", make=True)
    if lock is None:
        other = read_address(store)
        where = f" at {other.ui} (process {other.pid} of {other.host})" if other else ""
        raise StoreError(
            f"another `twin serve` of the store {store.root} runs already{where}",
            "use that one or stop it, or give this one a store of its own: TWIN_STORE=FOLDER twin serve --port 4210",
        )
    with lock:
        _write(folder / "address.json", Address(ui, api, os.getpid(), socket.gethostname(), auth=auth))
        try:
            yield
        finally:
            (folder / "address.json").unlink(missing_ok=True)


def use_server(store: Store) -> str:
    """The API to talk to: PREFECT_API_URL, else that of the `twin serve` of this store. Prefect, which reads the environment when it is
    imported, finds address and password there afterwards. Raises TwinError if no server answers."""
    here = read_address(store)
    url = os.environ.get("PREFECT_API_URL") or (here.api if here else "")
    if not url or not answers(url, 5.0):
        raise TwinError(
            "no Prefect server answers" + (f" at {url}" if url else ""),
            "start one with `twin serve`, or set PREFECT_API_URL",
        )
    os.environ["PREFECT_API_URL"] = url
    auth = (here.auth if here and _same_server(here.api, url) else "") or os.environ.get("TWIN_AUTH", "")
    if auth:
        os.environ.setdefault("PREFECT_API_AUTH_STRING", auth)
    if asks_for_password(url, os.environ.get("PREFECT_API_AUTH_STRING", "")):
        raise TwinError(
            f"the Prefect server at {url} asks for another password",
            "set TWIN_AUTH=user:password as for that server, or be the user who started it, with the same TWIN_STORE",
        )
    return url


def asks_for_password(api_url: str, auth: str) -> bool:
    """Whether an API refuses this auth."""
    request = urllib.request.Request(
        f"{api_url}/admin/version", headers={"Authorization": authorization(auth)} if auth else {}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5.0):
            return False
    except urllib.error.HTTPError as e:
        return e.code == HTTPStatus.UNAUTHORIZED
    except OSError:
        return False


def _same_server(one: str, other: str) -> bool:
    return urlsplit(one).netloc == urlsplit(other.replace("//localhost:", "//127.0.0.1:")).netloc


def _write(path: Path, address: Address) -> None:
    """Never readable for others, and never half written."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(address), file)
    fresh.replace(path)
