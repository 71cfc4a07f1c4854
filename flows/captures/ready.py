"""Which captures wait to be reconstructed. A capture is complete when its folder holds a file READY, written last by whoever made it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.captures.listing import digest_of, listing_of
from flows.captures.markers import DEEPEST, DEEPEST_TOLD, Note, look_through
from flows.records.names import is_text, printable
from flows.records.places import captures_root, twin_folder
from flows.records.run_record import RunRecord, RunRecords
from flows.records.twin_place import is_better
from flows.records.twin_record import TwinRecord, damage_of, read_twin
from stages.core.errors import CaptureError

FEW = 5
"""captures up to which the records of each are looked up by name; beyond, all records are read once"""


@dataclass(frozen=True)
class ReadyCapture:
    """A complete capture; `key` is the same as long as its marker is."""

    path: Path
    name: str
    """relative to the root, with / as the separator"""
    key: str
    completed: float = 0.0
    """when it was marked, seconds since the epoch, by the clock of whoever keeps the files"""
    marker: int = 0
    """the same in nanoseconds: which marker it was"""
    address: str = ""
    """where it lies in a bucket; `path` is where it will be here"""
    has_settings: bool = False
    """whether a twin.yaml lies beside its marker there"""
    listing: int = 0
    """of all that lies there, in this process: the same as long as that is"""


def ready_captures(root: Path) -> list[ReadyCapture]:
    """All complete captures below the root, by name. Raises CaptureError if the root is no folder."""
    return _arrived(root, DEEPEST)[0]


def arrived(root: Path) -> tuple[list[ReadyCapture], list[Note]]:
    """All complete captures, by name, and notes on what is not taken or not as it seems. Raises CaptureError if the root is no folder."""
    captures, notes = _arrived(root, DEEPEST_TOLD)
    damaged = ((twin_folder(c.path), damage_of(twin_folder(c.path))) for c in captures)
    return captures, [*notes, *(Note(str(folder), f"counts as no twin: {why}") for folder, why in damaged if why)]


def not_done(
    captures: Sequence[ReadyCapture], profile: str, settings: Sequence[str], records: RunRecords
) -> list[ReadyCapture]:
    """Those without a twin that was made with these settings, or with a better profile, after they were complete.

    The twin folder says so itself, so that records may be forgotten; where it holds another twin (of another profile, say), they are asked.
    """
    left = [c for c in captures if not _has_twin(c, profile, settings)]
    known = records.by_capture() if len(left) > FEW else {str(c.path): records.of_capture(c.path) for c in left}
    return [c for c in left if not _was_done(c, profile, settings, known.get(str(c.path), ()))]


def has_twin(capture: ReadyCapture) -> bool:
    """Whether the twin in its place was made of the capture as it is marked now, with whatever settings."""
    twin = read_twin(twin_folder(capture.path))
    return twin is not None and _is_of(capture, twin)


def was_begun(capture: ReadyCapture, run: RunRecord) -> bool:
    """Whether a run of this capture took it as it is marked now."""
    return _same_marker(capture, run.marker, run.started)


def changed_since(capture: ReadyCapture) -> bool:
    """Whether files of the capture came, went or changed since its twin was made, though its marker is the same."""
    twin = read_twin(twin_folder(capture.path))
    return twin is not None and twin.asked.listing not in ("", digest_of(listing_of(capture.path)))


def _has_twin(capture: ReadyCapture, profile: str, settings: Sequence[str]) -> bool:
    twin = read_twin(twin_folder(capture.path))
    return twin is not None and is_made(twin, capture, profile, settings)


def is_made(twin: TwinRecord, capture: ReadyCapture, profile: str, settings: Sequence[str]) -> bool:
    """Whether this twin is of the capture as it is marked, and of these settings or a better profile."""
    if not _is_of(capture, twin):
        return False
    return is_better(twin.profile, str(profile)) or (
        twin.profile == str(profile) and twin.asked.settings == list(settings)
    )


def _is_of(capture: ReadyCapture, twin: TwinRecord) -> bool:
    return not twin.asked.changed and _same_marker(capture, twin.asked.marker, twin.asked.started)


def _same_marker(capture: ReadyCapture, marker: int, started: float) -> bool:
    """By the marker itself where it is known: its time may come from another clock, and lie in the future."""
    return marker == capture.marker if marker else started >= capture.completed


def _was_done(capture: ReadyCapture, profile: str, settings: Sequence[str], runs: Iterable[RunRecord]) -> bool:
    for r in runs:
        if r.state == "done" and r.request["profile"] == str(profile) and list(r.request["settings"]) == list(settings):
            return not r.changed and was_begun(capture, r) and (Path(r.request["out"]) / "run.json").exists()
    return False


def _arrived(root: Path, levels: int) -> tuple[list[ReadyCapture], list[Note]]:
    root = checked_root(root)
    found = look_through(root, levels)
    for marker in [m for m in found.markers if m.parent == captures_root()]:
        found.markers.remove(marker)
        found.note(marker, "this is the folder of all captures: move the capture into a folder of its own")
    return sorted(filter(None, (described(root, p) for p in found.markers)), key=lambda c: c.name), found.notes


def checked_root(root: Path) -> Path:
    """The folder that captures arrive in, in full. Raises CaptureError."""
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise CaptureError(f"{printable(root)} is not a folder", "name the folder that captures arrive in")
    if not is_text(str(root)):
        raise CaptureError(f"the name of {printable(root)} is not UTF-8", "rename that folder")
    return root


def described(root: Path, marker: Path) -> ReadyCapture | None:
    """The capture of a marker; None if it has been taken away at this moment."""
    try:
        stamp = marker.stat()
    except OSError:  # taken away at this moment
        return None
    folder = marker.parent
    # the marker's time counts: a capture that is made anew under the old name is a new capture
    key = hashlib.sha256(f"{folder}|{stamp.st_mtime_ns}".encode()).hexdigest()[:32]
    return ReadyCapture(folder, folder.relative_to(root).as_posix(), key, stamp.st_mtime, marker=stamp.st_mtime_ns)
