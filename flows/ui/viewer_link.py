"""The address of a finished twin in a web viewer, or on the server of its own page, from a base address that the user gives."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

from stages.core.errors import ConfigError

NAME = "{name}"
"""in a base address: the place of the twin's folder name"""
PAGE = "report.html"


def checked_base(base: str) -> str:
    """The base address itself. Raises ConfigError for what no browser could open."""
    try:
        parts = urlsplit(base)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and base.isprintable()
            and " " not in base
            and parts.port != 0
        )
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"--viewer is {base[:80]!r}",
            f"give an address as http://machine:8000, or one of a viewer with {NAME} in it",
        )
    return base


def viewer_link(base: str, twin: Path) -> str:
    """`base` with the twin's name in place of {name}; without it, the twin's page below `base`."""
    name = quote(twin.name, safe="")
    return base.replace(NAME, name) if NAME in base else f"{base.rstrip('/')}/{name}/{PAGE}"
