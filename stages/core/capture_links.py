"""A capture's files must lie in the capture: a link out of it would carry any file that this user can read into a twin.

A capture is foreign data, also where the user who runs it has unpacked it. So it is not enough that the link belongs to that user. Links
of whole folders into a data disk are common and honest: TWIN_LINKS_INTO names the folders, joined with ":", into which links may lead.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from stages.core.errors import CaptureError

ALLOWED = "TWIN_LINKS_INTO"
_ADVICE = f"copy the files into the capture, or name the folder that they may come from in {ALLOWED}"


def refuse_links_out(root: Path, files: Iterable[Path]) -> None:
    """Raise CaptureError for the first of `files` (below `root`) whose real place is not in the capture or an allowed folder."""
    inside, real = _Inside(root), {}
    for path in files:
        folder = path.parent
        if folder not in real:
            real[folder] = folder.resolve()
        inside.require(path, path.resolve() if path.is_symlink() else real[folder] / path.name)


def open_inside(path: Path, root: Path) -> BinaryIO:
    """A file of the capture, open for reading; where it really lies is asked of the open file, so a link put there meanwhile helps nobody.

    Raises CaptureError for a link out of the capture and for what is no regular file.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    except OSError as e:
        raise CaptureError(f"cannot read {path}: {e.strerror}", "check that the file exists and is readable") from e
    with ExitStack() as closed_on_error:
        closed_on_error.enter_context(file)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CaptureError(f"{path} is no regular file", "put the file itself there")
        _Inside(root).require(path, _place(file, path))
        closed_on_error.pop_all()
    return file


class _Inside:
    """The folders in which a capture's files may lie."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._folders = [
            self._root,
            *(Path(p).expanduser().resolve() for p in os.environ.get(ALLOWED, "").split(":") if p),
        ]

    def require(self, path: Path, place: Path) -> None:
        if not any(place.is_relative_to(folder) for folder in self._folders):
            raise CaptureError(f"{path} leads out of the capture, to {place}", _ADVICE)


def _place(file: BinaryIO, path: Path) -> Path:
    try:
        return Path(f"/proc/self/fd/{file.fileno()}").readlink()
    except OSError:  # no /proc on this system
        return path.resolve()
