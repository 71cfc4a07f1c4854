"""Names from the filesystem, which may be any bytes."""

from __future__ import annotations

import os
from pathlib import Path


def printable(path: Path | str) -> str:
    """A path as it can be printed and sent: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_text(name: str) -> bool:
    """Whether a name from the filesystem is UTF-8; others fit into no JSON, so they cannot be handed to Prefect, nor stand in a record."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
