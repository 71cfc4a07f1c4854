"""Who started a run, in words that stay with its record: a person at a terminal, the watcher, a batch, or whoever pressed Run in the UI.

Who that was, the API server's audit file knows (web/audit.py): there is one password, so it is an address and what a proxy says
of the user.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable

PREFIX = "by: "
"""of the tag of a flow run that says so"""
SCHEDULED = "auto-scheduled"
"""Prefect's own tag of what a schedule starts"""
BY_HAND = "UI or API"


def at_a_terminal() -> str:
    """The user of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def tag(who: str) -> str:
    """For a flow run that `who` starts."""
    return PREFIX + who


def watcher_tag() -> str:
    """For a run that a READY marker starts."""
    return tag(f"READY, seen on {socket.gethostname()}")


def by_tags(tags: Iterable[str]) -> str:
    """Who started a flow run of these tags."""
    tags = list(tags)
    named = next((t.removeprefix(PREFIX) for t in tags if t.startswith(PREFIX)), "")
    return named or ("schedule" if SCHEDULED in tags else BY_HAND)
