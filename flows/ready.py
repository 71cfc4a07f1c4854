"""Which captures wait to be reconstructed. A capture is complete when its folder holds a file READY, written last by whoever made it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.places import twin_folder
from flows.run_record import RunRecord, RunRecords
from flows.twin_place import is_better
from stages.core.errors import CaptureError

MARKER = "READY"
FEW = 5
"""captures up to which the records of each are looked up by name; beyond, all records are read once"""
PICTURE_FOLDERS = {"left", "right"}
DEEPEST = 3
"""levels below the root: root/2026-11-20/object/READY is found, a marker inside left/ is not looked for"""


@dataclass(frozen=True)
class ReadyCapture:
    """A complete capture; `key` is the same as long as its marker is."""

    path: Path
    name: str
    """relative to the root, with / as the separator"""
    key: str
    completed: float = 0.0
    """when it was marked, seconds since the epoch"""


def ready_captures(root: Path) -> list[ReadyCapture]:
    """All complete captures below the root, by name. Raises CaptureError if the root is no folder."""
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise CaptureError(f"{root} is not a folder", "name the folder that captures arrive in")
    return sorted(filter(None, (_described(root, p) for p in _markers(root, DEEPEST))), key=lambda c: c.name)


def not_done(captures: Sequence[ReadyCapture], profile: str, settings: Sequence[str], records: RunRecords) -> list[ReadyCapture]:
    """Those without a twin that was made with these settings, or with a better profile, after they were complete.

    The twin folder says so itself, so that records may be forgotten; where it holds another twin (of another profile, say), they are asked.
    """
    left = [c for c in captures if not _has_twin(c, profile, settings)]
    known = records.by_capture() if len(left) > FEW else {str(c.path): records.of_capture(c.path) for c in left}
    return [c for c in left if not _was_done(c, profile, settings, known.get(str(c.path), ()))]


def has_twin(capture: ReadyCapture) -> bool:
    """Whether the twin in its place was begun after the capture was complete, with whatever settings."""
    return _begun(_twin_of(capture)) >= capture.completed


def _has_twin(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> bool:
    run = _twin_of(capture)
    if _begun(run) < capture.completed:
        return False
    return is_better(run["profile"], str(profile)) or (run["profile"] == str(profile) and run["asked"]["settings"] == list(settings))


def _twin_of(capture: ReadyCapture) -> dict[str, Any]:
    """run.json of the twin in its place; empty if there is none."""
    try:
        return json.loads((twin_folder(capture.path) / "run.json").read_text())
    except (OSError, ValueError):
        return {}


def _begun(run: Mapping[str, Any]) -> float:
    return run["asked"]["started"] if "asked" in run else float("-inf")


def _was_done(capture: ReadyCapture, profile: str, settings: Sequence[str], runs: Iterable[RunRecord]) -> bool:
    for r in runs:
        if r.state == "done" and r.request["profile"] == str(profile) and list(r.request["settings"]) == list(settings):
            return r.started >= capture.completed and (Path(r.request["out"]) / "run.json").exists()
    return False


def _markers(folder: Path, levels: int) -> Iterator[Path]:
    """Looked for every few seconds: without asking for the kind of each file, and not among the pictures of a capture."""
    inside = subfolders(folder)
    if {p.name for p in inside} & PICTURE_FOLDERS:
        return
    for path in inside:
        if (path / MARKER).is_file():
            yield path / MARKER
        elif levels > 1:
            yield from _markers(path, levels - 1)


def subfolders(folder: Path) -> list[Path]:
    """All but the hidden ones and those closed to us, like the lost+found of a disk; none of a folder that is gone."""
    try:
        with os.scandir(folder) as entries:
            return [Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir() and os.access(e.path, os.R_OK | os.X_OK)]
    except FileNotFoundError:
        return []


def _described(root: Path, marker: Path) -> ReadyCapture | None:
    try:
        stamp = marker.stat()
    except FileNotFoundError:                    # taken away at this moment
        return None
    folder = marker.parent
    # the marker's time counts: a capture that is made anew under the old name is a new capture
    key = hashlib.sha256(f"{folder}|{stamp.st_mtime_ns}".encode()).hexdigest()[:32]
    return ReadyCapture(folder, folder.relative_to(root).as_posix(), key, stamp.st_mtime)
