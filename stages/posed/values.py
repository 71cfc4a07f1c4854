"""Values of foreign camera files: every reader checks them in the same words, by file and frame."""

from __future__ import annotations

import io
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.colmap_files import MOST_FRAMES
from stages.core.errors import CaptureError
from stages.core.picture_size import check_size, picture_size
from stages.core.plain_files import read_bytes, require_regular

SUFFIXES = (".png", ".jpg", ".jpeg")
ARRAY_BYTES = 64 << 20
HEADER_BYTES = 1 << 20
"""of a picture are looked at for its size first; decoding looks at all of it"""
_DAMAGED = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    UnicodeError,
)
"""what numpy and zipfile raise over damaged, encrypted or pickled files"""


def number(values: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    """A finite number of the mapping. Raises CaptureError."""
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > 1e12:
        raise CaptureError(f"{where}: {key} is {str(value)[:60]!r}", "give a finite number")
    return float(value)


def matrix(value: Any, shapes: tuple[tuple[int, int], ...], where: str) -> np.ndarray:
    """Nested lists of numbers as float64. Raises CaptureError."""
    try:
        out = np.array(value, dtype=float)
    except (TypeError, ValueError, OverflowError) as e:
        raise CaptureError(
            f"{where}: not a matrix of numbers ({str(e)[:80]})", f"give {shapes[0][0]} rows of {shapes[0][1]} numbers"
        ) from e
    if out.shape not in shapes or not np.isfinite(out).all():
        raise CaptureError(
            f"{where}: a matrix of {out.shape}; expected {' or '.join(f'{a}x{b}' for a, b in shapes)}, finite",
            "correct the matrix",
        )
    return out


def picture_at(root: Path, name: Any, where: str, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    """The picture that a file names, relative to `root`, with or without suffix. Raises CaptureError if it is absent or outside."""
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 1000:
        raise CaptureError(f"{where}: the picture's name is {str(name)[:60]!r}", "name a picture below the folder")
    plain = Path(name.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts:
        raise CaptureError(
            f"{where}: {name} leads out of the folder", "copy the pictures into the folder and name them relative to it"
        )
    given = root / plain
    if given.suffix.lower() in suffixes:
        if os.path.isfile(given):  # noqa: PTH113 - unlike Path.is_file, False for names that no disk can hold
            return given
        raise CaptureError(f"{where}: there is no picture {name}", f"put it into {root.name}/, or remove the frame")
    for suffix in (s for small in suffixes for s in (small, small.upper())):
        if os.path.isfile(path := Path(f"{given}{suffix}")):  # noqa: PTH113
            return path
    raise CaptureError(
        f"{where}: there is no picture {name} with any of {', '.join(suffixes)}", f"put it into {root.name}/"
    )


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder in the order of their names' numbers; [] where it is absent."""
    from stages.core.frame_names import natural

    found = (
        [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        if folder.is_dir()
        else []
    )
    return sorted(found, key=natural)


def load_array(path: Path) -> Any:
    """A .npy or .npz without pickled objects; an .npz comes as {name: array}. Raises CaptureError."""
    data = read_bytes(path, most=ARRAY_BYTES)
    advice = "save plain numbers with numpy.save or numpy.savez; files with pickled objects are not opened, they can run programs"
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            _refuse_swollen(data, path)
        found = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files[: 20 * MOST_FRAMES]}
    except _DAMAGED as e:
        raise CaptureError(f"{path} cannot be read as plain arrays: {type(e).__name__}: {str(e)[:120]}", advice) from e


def _refuse_swollen(data: bytes, path: Path) -> None:
    """A few kilobytes of a zip can stand for gigabytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        total = sum(i.file_size for i in z.infolist())
    if total > 4 * ARRAY_BYTES:
        raise CaptureError(f"{path} unpacks to {total:,} bytes", "check that it is the file it is named for")


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a picture, read from its header. Raises CaptureError."""
    require_regular(path)
    try:
        with path.open("rb") as f:
            head = f.read(HEADER_BYTES)
    except OSError as e:
        raise CaptureError(f"cannot read {path}: {e.strerror}", "check that the file is readable") from e
    return picture_size(head) or check_size(read_bytes(path), path)


def refuse_count(count: int, path: Path, least: int = 2) -> None:
    """Raises CaptureError for too few or far too many frames."""
    if not least <= count <= MOST_FRAMES:
        raise CaptureError(
            f"{path} has {count} frames; expected {least} to {MOST_FRAMES:,}",
            "give a camera for each of several pictures",
        )
