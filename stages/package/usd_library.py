"""Whether usd-core is there, without importing it."""

from __future__ import annotations

from stages.core.backends import version_of

INSTALL = "pip install usd-core"


def usd_version() -> str:
    """Version of usd-core, "" where it is not installed."""
    return version_of("usd-core", "pxr")
