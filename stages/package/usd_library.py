"""Whether usd-core is there, without importing it."""

from __future__ import annotations

from importlib import metadata, util

INSTALL = "pip install usd-core"


def usd_version() -> str:
    """Version of usd-core, "" where it is not installed."""
    return metadata.version("usd-core") if util.find_spec("pxr") is not None else ""
