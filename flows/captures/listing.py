"""What a capture holds: names, sizes and times of the files that the pipeline reads. Enough to notice a change, and cheap to ask for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from flows.captures.markers import MARKER
from flows.records.names import printable
from stages.core.capture import capture_files
from stages.core.errors import CaptureError

Listing = Mapping[str, tuple[int, int, int]]
"""(bytes, mtime, ctime, both in ns) by name relative to the capture. A picture that was replaced and put back has another ctime"""
SETTINGS = "twin.yaml"


def listing_of(capture: Path) -> Listing:
    """Of what the pipeline reads; of all files while the folder is no capture yet."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in _files(capture):
        try:
            about = path.stat()
        except OSError:  # taken away at this moment
            continue
        found[path.relative_to(capture).as_posix()] = (about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    return found


def digest_of(listing: Listing) -> str:
    """Equal as long as nothing changed, wherever the capture lies: a copy that keeps the times has it too."""
    return hashlib.sha256(os.fsencode(repr(sorted((name, *about[:2]) for name, about in listing.items())))).hexdigest()[
        :32
    ]


def marker_time(capture: Path) -> int:
    """When the capture's marker was written, in ns; 0 without one."""
    try:
        return (capture / MARKER).stat().st_mtime_ns
    except OSError:
        return 0


def difference(before: Listing, now: Listing) -> str:
    """In words; empty if there is none."""
    parts = (
        ("came", sorted(now.keys() - before.keys())),
        ("went", sorted(before.keys() - now.keys())),
        ("changed", sorted(k for k in now.keys() & before.keys() if now[k] != before[k])),
    )
    return ", ".join(f"{_counted(names)} {what}" for what, names in parts if names)


def _counted(names: list[str]) -> str:
    if len(names) == 1:
        return printable(names[0])
    return f"{len(names)} files ({printable(names[0])} ..)"


def _files(capture: Path) -> list[Path]:
    try:
        return [p for p in (*capture_files(capture), capture / SETTINGS)]
    except (CaptureError, OSError):
        return [Path(folder, name) for folder, _, names in os.walk(capture) for name in names if name != MARKER]
