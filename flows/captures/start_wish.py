"""When the runs of a capture begin by themselves, and with which profile: `start` in twin.yaml, of the capture or of a folder above it.

start: {when: night, profile: quality}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.captures.listing import SETTINGS
from flows.records.places import captures_root
from stages.core.config import PROFILES
from stages.core.errors import ConfigError
from stages.core.plain_files import read_text
from stages.core.plain_yaml import native, parse_map

WHEN = ("arrival", "night", "never")
"""as soon as it is READY, and by batches where that failed; by batches only; only by hand"""


@dataclass(frozen=True)
class StartWish:
    """What is said of one capture; an empty profile leaves it to whoever starts the run."""

    when: str = "arrival"
    profile: str = ""


def wish_of(capture: Path) -> StartWish:
    """From the capture's twin.yaml, else those of the folders above it up to the captures folder, else TWIN_START_WHEN and
    TWIN_START_PROFILE; the nearest that says a thing counts. Raises ConfigError, which names the file, for what cannot be read."""
    found: dict[str, str] = {}
    for folder in _folders(capture):
        found = _said(folder / SETTINGS) | found
    given = {"when": os.environ.get("TWIN_START_WHEN", ""), "profile": os.environ.get("TWIN_START_PROFILE", "")}
    return StartWish(**_checked({k: v for k, v in given.items() if v}, "TWIN_START_WHEN, TWIN_START_PROFILE") | found)


def _folders(capture: Path) -> list[Path]:
    root = captures_root()
    return [p for p in (capture, *capture.parents) if p == capture or p == root or p.is_relative_to(root)]


def _said(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    start = parse_map(read_text(path, ConfigError), str(path)).value.get("start")
    return {} if start is None else _checked(native(start), str(path))


def _checked(said: Any, where: str) -> dict[str, str]:
    known = {"when": WHEN, "profile": PROFILES}
    if not isinstance(said, Mapping):
        raise ConfigError(f"{where}: start is {str(said)[:60]!r}", "write start: {when: night, profile: quality}")
    for key, value in said.items():
        if key not in known:
            raise ConfigError(f"{where}: start has no key {str(key)[:60]!r}", f"choose one of {', '.join(known)}")
        if value not in known[key]:
            raise ConfigError(f"{where}: start.{key} is {str(value)[:60]!r}", f"choose one of {', '.join(known[key])}")
    return dict(said)
