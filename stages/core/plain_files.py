"""Opens files of foreign folders: only regular files, up to a size, and text only as UTF-8.

A FIFO would wait for ever, a device never ends, a link to nothing would end in an error that names no cause: each is refused by its name.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.core.errors import CaptureError, TwinError

TEXT_BYTES = 1 << 20
"""of a calibration, a prompt or settings: the largest real ones take some ten kilobytes"""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_SAVE_AS = "save it as UTF-8 text"


def what_it_is(path: Path) -> str:
    """ "" for a regular file or a link to one, else in words what lies there."""
    try:
        mode = path.stat().st_mode
    except OSError as e:
        return "a link to nothing" if path.is_symlink() else f"not readable ({e.strerror})"
    return "" if stat.S_ISREG(mode) else next((words for test, words in _KINDS if test(mode)), "no regular file")


def require_regular(path: Path, error: type[TwinError] = CaptureError) -> None:
    """Raise `error` for anything but a regular file or a link to one."""
    kind = what_it_is(path)
    if kind == "a link to nothing":
        raise error(
            f"{path} is a link to nothing ({path.readlink()})",
            "fetch the contents that it stands for (git annex get, dvc pull, git lfs pull), or remove the link",
        )
    if kind:
        raise error(f"{path} is {kind}; expected a file", "put the file itself there, or remove it")


def require_all_regular(paths: Iterable[Path], error: type[TwinError] = CaptureError) -> None:
    """`require_regular` of each; the error names the first and counts the others in its folder."""
    kinds = {p: kind for p in paths if (kind := what_it_is(p))}
    if not kinds:
        return
    first, kind = next(iter(kinds.items()))
    more = sum(p.parent == first.parent for p in kinds) - 1
    try:
        require_regular(first, error)
    except TwinError as e:
        raise error(
            e.message + (f"; {more} more in {first.parent.name}/ are no files either" if more else ""), e.advice
        ) from None
    raise error(f"{first} was {kind} and changed meanwhile", "wait until the folder is complete")


def read_bytes(
    path: Path, error: type[TwinError] = CaptureError, most: int | None = None, shown: str | Path = ""
) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises `error`; never waits for a FIFO, even one that has just come.

    shown: what to call it in messages; by default its path.
    """
    path, shown = Path(path), shown or path
    if path.exists() or path.is_symlink():
        require_regular(path, error)
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(fd, "rb") as f:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{shown} is no regular file", "put the file itself there")
            if most is not None and found.st_size > most:
                raise error(
                    f"{shown} has {found.st_size:,} bytes; expected at most {most:,}",
                    "check that it is the file it is named for",
                )
            return f.read()
    except OSError as e:
        raise error(f"cannot read {shown}: {e.strerror}", "check that the file exists and is readable") from e


def read_text(path: Path, error: type[TwinError] = CaptureError, most: int = TEXT_BYTES) -> str:
    """UTF-8 text, with or without byte order mark, any line ends. Raises `error` for other encodings, NUL bytes and large files."""
    return decode_text(read_bytes(path, error, most), str(path), error)


def decode_text(data: bytes, origin: str, error: type[TwinError] = CaptureError) -> str:
    """As `read_text`, of bytes."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise error(f"{origin} is UTF-16 text", _SAVE_AS)
    if (at := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise error(f"{origin}, line {line}: a NUL byte, so this is no text file", _SAVE_AS)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise error(f"{origin}, line {line}: byte {data[e.start]:#04x} is no UTF-8", _SAVE_AS) from e


def read_json(path: Path, error: type[TwinError] = CaptureError, most: int = TEXT_BYTES) -> Any:
    """The content of a JSON file. Raises `error` with the line for what is no JSON, is nested deeply, or names a key twice."""
    text = read_text(path, error, most)
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as e:
        raise error(f"{path.name}, line {e.lineno}: no valid JSON: {e.msg}", "correct the file") from e
    except RecursionError as e:
        raise error(f"{path.name} is nested too deeply", "correct the file") from e
    except ValueError as e:  # a key that is there twice; a number of thousands of digits
        raise error(f"{path.name}: {str(e)[:200]}", "correct the file") from e


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [k for k, _ in pairs]
        raise ValueError(f"the key {next(k for k in names if names.count(k) > 1)!r} is there twice")
    return found
