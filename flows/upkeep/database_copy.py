"""A copy of Prefect's database while its server runs, and back: SQLite by its own online back-up, PostgreSQL by pg_dump and pg_restore."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flows.web.address import home
from stages.core.errors import ConfigError, StoreError
from stages.core.store import Store

SQLITE, POSTGRES = "prefect.db", "prefect.dump"
URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


def postgres_url() -> str:
    """Of the PostgreSQL database that the environment names; empty where there is none."""
    url = os.environ.get(URL, "")
    return url if url.startswith("postgresql") else ""


def sqlite_file(store: Store) -> Path:
    """The database of this store's `twin serve`."""
    return home(store) / "prefect.db"


def copy_database(store: Store, folder: Path) -> Path | None:
    """The database as it is at one moment, in `folder`; None where there is none. Nobody is held up. Raises StoreError, ConfigError."""
    if url := postgres_url():
        return _dump(url, folder / POSTGRES)
    source = sqlite_file(store)
    return copy_sqlite(source, folder / SQLITE) if source.exists() else None


def copy_sqlite(source: Path, target: Path) -> Path:
    """All that was committed when it began. The old copy is replaced once the new one is whole."""
    fresh = target.with_suffix(".partial")
    fresh.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as there,
            contextlib.closing(sqlite3.connect(fresh)) as here,
        ):
            there.backup(here)  # in one step: in pieces it begins anew with each write
            faults = here.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as e:
        raise StoreError(
            f"the database {source} cannot be copied: {e}", "see whether its disk has room and can be read"
        ) from e
    if faults != "ok":
        raise StoreError(f"the database {source} is damaged: {faults}", "restore an earlier back-up of it")
    fresh.chmod(0o600)
    fresh.replace(target)
    return target


def restore_database(store: Store, folder: Path) -> str:
    """Put the copy in `folder` in place; in words what was done, empty where the back-up has none. Nothing may run on it.

    Raises StoreError where there is a SQLite database already, or the back-up is of the other kind of database.
    """
    url, has = postgres_url(), {name: (folder / name).exists() for name in (SQLITE, POSTGRES)}
    if (url and has[SQLITE]) or (not url and has[POSTGRES]):
        raise StoreError(
            f"the back-up {folder} is of {'SQLite' if url else 'PostgreSQL'}, this installation uses "
            f"{'PostgreSQL' if url else 'SQLite'}",
            f"set {URL} as it was when the back-up was made, or give --no-database",
        )
    if url and has[POSTGRES]:
        _load(url, folder / POSTGRES)
        return "PostgreSQL's database is that of the back-up"
    if not has[SQLITE]:
        return ""
    target = sqlite_file(store)
    if target.exists():
        raise StoreError(
            f"{target} is there already", "move it aside, or give --no-database to keep it and restore the rest"
        )
    store.disk.make_folders(target.parent)
    copy_sqlite(folder / SQLITE, target)
    return f"{target} is that of the back-up"


def _dump(url: str, target: Path) -> Path:
    fresh = target.with_suffix(".partial")
    _postgres("pg_dump", url, "--format=custom", "--no-owner", f"--file={fresh}")
    fresh.chmod(0o600)
    fresh.replace(target)
    return target


def _load(url: str, dump: Path) -> None:
    """All or nothing: one transaction."""
    _postgres(
        "pg_restore", url, "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error", str(dump)
    )


def _postgres(program: str, url: str, *options: str) -> None:
    """The password goes by the environment: a command line can be read by every user of the machine."""
    if shutil.which(program) is None:
        raise ConfigError(
            f"{program} is not installed here, and the database is PostgreSQL",
            "apt-get install postgresql-client (no older than the server), or give --no-database and copy it where it runs",
        )
    there = urlsplit(url)
    words = [
        program,
        "--host",
        there.hostname or "127.0.0.1",
        "--port",
        str(there.port or 5432),
        "--no-password",
        "--username",
        unquote(there.username or "prefect"),
        "--dbname",
        there.path.lstrip("/") or "prefect",
        *options,
    ]
    done = subprocess.run(
        words, env={**os.environ, "PGPASSWORD": unquote(there.password or "")}, capture_output=True, text=True
    )
    if done.returncode:
        raise StoreError(f"{program} failed: {done.stderr.strip()[-500:]}", f"mend what it says; it was asked by {URL}")
