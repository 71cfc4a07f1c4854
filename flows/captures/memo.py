"""The READY captures of the captures folder for one who looks every few seconds: a folder that has not changed is not read again.

Whether a folder has changed is told by its times; one that changed a moment ago is read all the same, because a second change may have the
same time. Markers are asked for each time: one that is touched again leaves its folder's times as they are.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from flows.captures.markers import DEEPEST, MARKER, PICTURE_FOLDERS, folders
from flows.captures.ready import ReadyCapture, checked_root, described
from flows.records.names import is_text

SETTLED_S = 5.0


@dataclass
class _Folder:
    stamp: tuple[int, int, int]
    children: list[str]
    settled: bool


class CapturesMemo:
    """Of one folder. `settled_s`: a folder is read again while its last change is no older."""

    def __init__(self, settled_s: float = SETTLED_S) -> None:
        self._settled_s = settled_s
        self._folders: dict[str, _Folder] = {}
        self._known: dict[tuple[str, int], ReadyCapture | None] = {}
        self._last: list[tuple[str, int]] = []
        self._ready: list[ReadyCapture] = []
        self.changes = 0
        """how often something was otherwise than the time before"""

    def ready(self, root: Path) -> list[ReadyCapture]:
        """As `ready_captures`. Raises CaptureError if the root is no folder."""
        root = checked_root(root)
        before, self._folders, found = self._folders, {}, []
        left = [(str(root), 1)]
        while left:
            folder, level = left.pop()
            for child in self._children(folder, before):
                if (marker := _marker_of(child)) is not None:
                    found.append((child, marker))
                elif level < DEEPEST:
                    left.append((child, level + 1))
        if found != self._last or {k: f.stamp for k, f in before.items()} != {
            k: f.stamp for k, f in self._folders.items()
        }:
            self.changes += 1
        if found != self._last:
            self._known = {
                key: self._known[key] if key in self._known else described(root, Path(key[0]) / MARKER) for key in found
            }
            self._ready = sorted(filter(None, self._known.values()), key=lambda c: c.name)
            self._last = found
        return self._ready

    def _children(self, folder: str, before: dict[str, _Folder]) -> list[str]:
        """Folders in which a marker may lie; none in a capture without its marker."""
        try:
            about = os.stat(folder)  # noqa: PTH116 - ten thousand of them every three seconds
        except OSError:
            return []
        stamp, known = (about.st_mtime_ns, about.st_ctime_ns, about.st_ino), before.get(folder)
        if known is None or known.stamp != stamp or not known.settled:
            settled = time.time() - max(about.st_mtime, about.st_ctime) > self._settled_s
            inside = folders(Path(folder))
            named = [] if {p.name for p in inside} & PICTURE_FOLDERS else [str(p) for p in inside if is_text(p.name)]
            known = _Folder(stamp, named, settled)
        self._folders[folder] = known
        return known.children


def _marker_of(folder: str) -> int | None:
    """When it was written, ns; None without one."""
    try:
        about = os.stat(f"{folder}/{MARKER}")  # noqa: PTH116 - as above
    except OSError:
        return None
    return about.st_mtime_ns if stat.S_ISREG(about.st_mode) else None
