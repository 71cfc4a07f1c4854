"""The verdict of a finished twin, as its run.json has it, and which verdicts count as a failure.

TWIN_FAIL_ON says which: "do not use" (the default), "partial" (that and worse) or "never". It decides the state of a run that was started
from the UI, by a schedule or by a batch; the twin folder is written either way.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flows.records.saved import Unreadable, read_object
from stages.core.errors import ConfigError

FAIL_ON = "TWIN_FAIL_ON"
_FAILING = {"do not use": ("do not use",), "partial": ("partial", "do not use"), "never": ()}


def verdict_of(out: str | Path) -> dict[str, Any] | None:
    """ "word", "line", "why" and "facts"; None for a twin that has none: of an older version, or not there."""
    try:
        found = read_object(Path(out) / "run.json")["verdict"]
        return found if isinstance(found["word"], str) and isinstance(found["line"], str) else None
    except (FileNotFoundError, Unreadable, KeyError, TypeError):
        return None


def fails(word: str) -> bool:
    """Whether a twin of this verdict counts as failed. Raises ConfigError for an unknown TWIN_FAIL_ON."""
    asked = os.environ.get(FAIL_ON) or "do not use"
    if asked not in _FAILING:
        raise ConfigError(f"{FAIL_ON} is {asked!r}", f"set it to one of {', '.join(map(repr, _FAILING))}")
    return word in _FAILING[asked]


def failure_of(out: str | Path | None) -> str:
    """Why a finished run counts as failed; empty if it does not."""
    found = verdict_of(out) if out else None
    if found is None or not fails(found["word"]):
        return ""
    return f"the twin is written ({out}), but its verdict is {found['line']}"
