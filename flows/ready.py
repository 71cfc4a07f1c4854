"""Which captures wait to be reconstructed. A capture is complete when its folder holds a file READY, written last by whoever made it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import CaptureError

MARKER = "READY"
DEEPEST = 3
"""levels below the root: root/2026-11-20/object/READY is found, a marker inside left/ is not looked for"""


@dataclass(frozen=True)
class ReadyCapture:
    """A complete capture; `key` is the same as long as its marker is."""

    path: Path
    name: str
    """relative to the root, with / as the separator"""
    key: str


def ready_captures(root: Path) -> list[ReadyCapture]:
    """All complete captures below the root, by name. Raises CaptureError if the root is no folder."""
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise CaptureError(f"{root} is not a folder", "name the folder that captures arrive in")
    return sorted((_described(root, p.parent) for p in _markers(root, DEEPEST)), key=lambda c: c.name)


def capture_names(root: Path) -> list[str]:
    """Names of the folders that look like captures, READY or not."""
    if not root.is_dir():
        return []
    return sorted(p.name for p in root.iterdir() if p.is_dir() and ((p / "left").is_dir() or (p / MARKER).exists() or any(p.glob("*.mp4"))))


def _markers(folder: Path, levels: int) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            if (path / MARKER).is_file():
                yield path / MARKER
            elif levels > 1:
                yield from _markers(path, levels - 1)


def _described(root: Path, folder: Path) -> ReadyCapture:
    stamp = (folder / MARKER).stat()
    name = folder.relative_to(root).as_posix()
    # the marker's time counts: a capture that is made anew under the old name is a new capture
    return ReadyCapture(folder, name, hashlib.sha256(f"{folder}|{stamp.st_mtime_ns}".encode()).hexdigest()[:32])
