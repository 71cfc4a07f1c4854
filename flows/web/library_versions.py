"""Installed libraries with which Prefect's server does not do what it says: found before it starts, not in its log at night."""

from __future__ import annotations

from importlib import metadata

from packaging.version import Version

from stages.core.errors import ConfigError

SQLALCHEMY_BELOW = Version("2.1")


def sqlalchemy_fault() -> str:
    """What is wrong with the installed SQLAlchemy; empty if nothing is.

    Prefect 3.8 inserts scheduled runs in a way that SQLAlchemy 2.1 refuses, so that no schedule ever starts a run and only the server's
    log says why.
    """
    try:
        installed = metadata.version("SQLAlchemy")
    except metadata.PackageNotFoundError:
        return "SQLAlchemy is not installed"
    if Version(installed) < SQLALCHEMY_BELOW:
        return ""
    return f"SQLAlchemy {installed} is installed: with it Prefect's schedules never start a run (below {SQLALCHEMY_BELOW} they do)"


def refuse_faulty_libraries() -> None:
    """Raises ConfigError with what to do."""
    if fault := sqlalchemy_fault():
        raise ConfigError(
            fault, f"make setup, or in this environment: python -m pip install 'SQLAlchemy<{SQLALCHEMY_BELOW}'"
        )
