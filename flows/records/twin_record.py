"""What the run.json of a twin folder says, as far as flows/ asks for it. Users may edit, replace or lose that file."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from flows.records.names import printable
from flows.records.run_record import Seconds
from flows.records.saved import Unreadable, read_object, saved_as

log = logging.getLogger(__name__)
NEWEST = 1
_told: set[Path] = set()


@dataclass(frozen=True)
class Asked:
    """What was asked for, and of what."""

    settings: list[str] = field(default_factory=list)
    started: Seconds = 0.0
    """since the epoch; 0 in twins of early versions"""
    marker: int = 0
    """when the capture's READY was written, in nanoseconds; 0 when it had none or an early version made the twin"""
    listing: str = ""
    """digest of the names, sizes and times of the files that were read; empty in twins of early versions"""
    changed: str = ""
    """what changed in the capture while it was read, in words"""


@dataclass(frozen=True)
class StageFigures:
    """Of one stage."""

    metrics: dict[str, Any] = field(default_factory=dict)
    frames: dict[str, Annotated[int, Field(ge=0)]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """On the whole twin; empty in twins of early versions."""

    word: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TwinRecord:
    """One twin."""

    run: str = ""
    profile: str = ""
    source: str = ""
    asked: Asked = field(default_factory=Asked)
    verdict: Verdict = field(default_factory=Verdict)
    stages: dict[str, StageFigures] = field(default_factory=dict)


def read_twin(folder: Path) -> TwinRecord | None:
    """None if there is no twin, or one whose run.json cannot be used: that is told once."""
    path = folder / "run.json"
    try:
        return saved_as(TwinRecord, read_object(path, NEWEST), path)
    except FileNotFoundError:
        return None
    except Unreadable as e:
        if path not in _told:
            log.warning("a twin's record is left out, as if there were no twin: %s", e)
            _told.add(path)
        return None


def damage_of(folder: Path) -> str:
    """Why the twin's run.json cannot be used; empty if it can, or if there is none."""
    path = folder / "run.json"
    try:
        saved_as(TwinRecord, read_object(path, NEWEST), path)
    except FileNotFoundError:
        return ""
    except Unreadable as e:
        return f"{printable(path)}: {e.why}"
    return ""
