"""A capture of ours from the folder of NVIDIA's 3D object reconstruction workflow, whose calibration lies in a settings file elsewhere.

The pictures are linked (copied where the store lies on another disk), never changed. The folder is made anew each time at a place that
depends only on where the data lie, so that the results of an earlier run are found.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from flows.foreign.nvidia_config import NvidiaRequest
from stages.core.capture import PICTURES
from stages.core.errors import CaptureError, StoreError
from stages.core.picture_size import check_size
from stages.core.plain_files import read_bytes
from stages.core.store import Store

FOLDERS = ("left", "right", "masks", "depth")
"""depth: PNG in millimetres, as that workflow reads them too"""


def picture_size_of(data: Path) -> tuple[int, int]:
    """(width, height) of the first left picture. Raises CaptureError."""
    if not data.is_dir():
        raise CaptureError(f"--data-path {data} is not a folder", "name the folder that holds left/ and right/")
    found = _pictures(data / "left")
    if not found:
        raise CaptureError(
            f"{data / 'left'} holds no pictures",
            "the data folder has left/left000000.png .. and right/right000000.png ..",
        )
    return check_size(read_bytes(found[0]), found[0])


def not_read(data: Path) -> list[str]:
    """What lies in the data folder and takes no part, by name."""
    others = [p.name for p in sorted(data.iterdir()) if p.name not in FOLDERS]
    return others + [
        f"{f}/*{kind}" for f in FOLDERS for kind in sorted({p.suffix for p in _files(data / f)} - set(PICTURES))
    ]


def write_capture(data: Path, request: NvidiaRequest, size: tuple[int, int], store: Store) -> Path:
    """The capture's folder, below the store. Raises StoreError where it cannot be written."""
    place = store.root / "nvidia" / hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    folder = place / data.name
    try:
        shutil.rmtree(place, ignore_errors=True)
        for name in FOLDERS:
            for path in _pictures(data / name):
                _link(path, folder / name / path.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "calibration.json").write_text(json.dumps(_calibration(request, size)))
    except OSError as e:
        raise StoreError(
            f"{folder} cannot be written: {e.strerror}", "free space there, or name another store: TWIN_STORE=FOLDER"
        ) from e
    return folder


def _calibration(request: NvidiaRequest, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "rectified": True,
        "image_size": {"width": size[0], "height": size[1]},
        "K": request.K,
        "baseline_m": request.baseline_m,
    }


def remove_capture(folder: Path) -> None:
    """Once its twin is there."""
    shutil.rmtree(folder.parent, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without such links
        shutil.copy2(source, target)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []


def _pictures(folder: Path) -> list[Path]:
    return [p for p in _files(folder) if p.suffix.lower() in PICTURES]
