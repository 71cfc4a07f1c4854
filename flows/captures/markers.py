"""Looks through the captures folder for READY markers, and for what was meant as one but is not: that is told."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.records.names import is_text, printable

MARKER = "READY"
PICTURE_FOLDERS = {"left", "right"}
DEEPEST = 3
"""levels below the root: root/2026-11-20/object/READY is found, a marker inside left/ is not looked for"""
DEEPEST_TOLD = 6
"""so far down a marker that lies too deep is looked for, where somebody asks for notes"""
_NOT_LETTERS = re.compile(r"[^a-z]+")


@dataclass(frozen=True)
class Note:
    """Something that is not taken: `path` as it can be printed, and `why`, with what to do."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass
class Found:
    """What lies below one folder."""

    markers: list[Path] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def note(self, path: Path, why: str) -> None:
        """Tell of it."""
        self.notes.append(Note(printable(path), why))


def look_through(root: Path, levels: int = DEEPEST) -> Found:
    """All markers up to DEEPEST levels below `root`, and notes on what is not taken; `levels` says how far down those are looked for."""
    found = Found()
    _look(root, 1, levels, found)
    return found


def subfolders(folder: Path) -> list[Path]:
    """All but the hidden ones, those whose names are not UTF-8, and those closed to us, like the lost+found of a disk; none of a folder
    that is gone or cannot be read."""
    return [p for p in folders(folder) if is_text(p.name)]


def _look(folder: Path, level: int, levels: int, found: Found) -> None:
    """Every few seconds: without asking for the kind of each file, and not among the pictures of a capture."""
    inside = folders(folder)
    if {p.name for p in inside} & PICTURE_FOLDERS:
        return
    for path in inside:
        if not is_text(path.name):
            found.note(path, "its name is not UTF-8, so it is not looked into: rename it")
        elif _has_marker(path, found):
            if level <= DEEPEST:
                found.markers.append(path / MARKER)
            else:
                found.note(
                    path / MARKER,
                    f"it lies {level} folders deep, and markers are looked for up to {DEEPEST}: move the capture up",
                )
        elif level < levels:
            _look(path, level + 1, levels, found)


def _has_marker(folder: Path, found: Found) -> bool:
    """A marker is a regular file of this very name; what is nearly one is told."""
    try:
        if stat.S_ISREG((folder / MARKER).stat().st_mode):
            return True
        found.note(folder / MARKER, "it is no regular file: make it with `touch READY`")
    except FileNotFoundError:
        for name in sorted(_nearly_markers(folder)):
            found.note(folder / name, f"the marker has to be named {MARKER}: rename it")
    except OSError as e:
        found.note(folder / MARKER, f"it cannot be read ({e.strerror})")
    return False


def _nearly_markers(folder: Path) -> Iterator[str]:
    """ready, Ready, READY.txt, "READY ", READY~, .READY ..."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if not e.is_dir()]
    except OSError:
        return
    for name in names:
        if _NOT_LETTERS.sub("", name.lower().rpartition(".")[0] or name.lower()) == "ready":
            yield name


def folders(folder: Path) -> list[Path]:
    """All but the hidden ones and those closed to us, names that are not UTF-8 among them."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e.path) for e in entries if not e.name.startswith(".") and _is_open_folder(e))
    except OSError:
        return []


def _is_open_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and os.access(entry.path, os.R_OK | os.X_OK)
    except OSError:
        return False
