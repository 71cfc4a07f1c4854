"""What can be known to be wrong before any work: the capture is not there, or the twin's folder cannot be written.

Asked by the command line before Prefect starts, which takes seconds, and again by every run before it leaves a record.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from flows.records.names import is_text, printable
from stages.core.capture import capture_files
from stages.core.errors import CaptureError, StoreError
from stages.core.routes import Route
from stages.core.twin_folder import refuse_foreign

ROOM_BYTES = 200_000_000
"""a twin without its masks and disparities, which take about what the capture's pictures take"""
_OUT_ADVICE = "name another folder with --out"


def check_places(capture: str, out: str | None, route: Route = "auto") -> None:
    """Raises CaptureError for a capture that is none, StoreError for an `out` that cannot become a twin (None: none is written)."""
    for name in (capture, out or ""):
        if not is_text(name):
            raise CaptureError(
                f"the name of {printable(name)} is not UTF-8", "rename the folder: no record can hold such a name"
            )
    files = capture_files(Path(capture), route)
    if out is None:
        return
    folder = Path(out)
    refuse_foreign(folder)
    if folder.resolve() == Path(capture).resolve():
        raise StoreError(f"{folder} is the capture itself", _OUT_ADVICE)
    there = _nearest_folder(folder)
    _write_something(there, folder)
    need = ROOM_BYTES + sum(p.stat().st_size for p in files if p.is_file())
    if (free := shutil.disk_usage(there).free) < need:
        found = f"{there} has {free / 1e6:.0f} MB free, and the twin may need {need / 1e6:.0f} MB"
        raise StoreError(found, f"free space, or {_OUT_ADVICE}")


def _nearest_folder(folder: Path) -> Path:
    """The parent that is there; StoreError if it is no folder."""
    there = next(p for p in folder.absolute().parents if p.exists() or p.is_symlink())
    if not there.is_dir():
        raise StoreError(f"{folder} cannot be made: {there} is not a folder", _OUT_ADVICE)
    return there


def _write_something(there: Path, folder: Path) -> None:
    """The rights alone do not tell: read-only mounts, quotas, root."""
    try:
        descriptor, name = tempfile.mkstemp(dir=there, prefix=".twin-check-")
        os.close(descriptor)
        Path(name).unlink()
    except OSError as e:
        raise StoreError(
            f"{folder} cannot be written: {e.strerror} in {there}", f"check its permissions, or {_OUT_ADVICE}"
        ) from e
