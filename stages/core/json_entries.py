"""Entries of a file that somebody wrote by hand or with another program: each is asked for by name, and what is wrong is named."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np

from stages.core.errors import CaptureError

REMARKS = ("comment", "comments", "note", "notes", "description", "source", "date", "serial", "name")
"""keys that say nothing a program would have to heed"""


def refuse_unknown(data: dict[str, Any], known: tuple[str, ...], source: str) -> None:
    """Raise CaptureError for a key that would be ignored: it may be a camera model, or a slip. Remarks may be called as in `REMARKS`."""
    for key in data:
        if key not in known and not key.startswith("_") and key.lower() not in REMARKS:
            near = difflib.get_close_matches(key, known, 1, 0.5)
            raise CaptureError(
                f"{source}: unknown entry {key[:60]!r}",
                f"did you mean {near[0]}?" if near else f'known here: {", ".join(known)}; remarks go under "note"',
            )


def entry(data: Any, key: str, source: str) -> Any:
    """data[key], or a CaptureError that names it."""
    if not isinstance(data, dict) or key not in data:
        raise CaptureError(f"{source}: no entry {key!r}", "see docs/capture.md for the calibration formats")
    return data[key]


def number(value: Any, what: str, source: str) -> float:
    """One number, or a CaptureError."""
    found = numbers(value, what, source)
    if found.size != 1 or isinstance(value, bool):
        raise CaptureError(f"{source}: {what} is {str(value)[:60]!r}; expected one number", "correct the file")
    return float(found[0])


def numbers(value: Any, what: str, source: str) -> np.ndarray:
    """Flat float64 array (null counts as NaN), or a CaptureError."""
    try:
        return np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as e:
        raise CaptureError(f"{source}: {what} is {str(value)[:60]!r}; expected numbers", "correct the file") from e


def matrix(value: Any, side: int, what: str, source: str) -> np.ndarray:
    """(side, side) from a flat or nested list, row by row."""
    flat = numbers(value, what, source)
    if flat.size != side * side:
        raise CaptureError(
            f"{source}: {what} has {flat.size} numbers; expected {side * side}, row by row", "correct the file"
        )
    return flat.reshape(side, side)
