"""A board named in words, as a setting holds it: its kind, its counts, its lengths in metres."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.core.boards import CalibrationBoard

KINDS = {"chessboard": 1, "charuco": 2, "apriltag": 2}
"""{kind: how many lengths}"""
_FORM = 'write "chessboard 9x6 0.025", "charuco 8x6 0.03 0.022 5X5_100" or "apriltag 6x6 0.03 0.009"'


def board_of(words: str) -> CalibrationBoard:
    """Raises ValueError for anything else than `KINDS` have it."""
    parts = words.split()
    kind = parts[0] if parts else ""
    counts = re.fullmatch(r"(\d{1,3})x(\d{1,3})", parts[1]) if len(parts) > 1 else None
    lengths = [_length(p) for p in parts[2 : 2 + KINDS.get(kind, 0)]]
    names = parts[2 + len(lengths) :]
    if (
        kind not in KINDS
        or counts is None
        or len(lengths) != KINDS[kind]
        or None in lengths
        or len(names) > (kind != "chessboard")
    ):
        raise ValueError(f"board is {words!r}; {_FORM}")
    from stages.core.boards import Board, CharucoBoard, TagGrid, dictionary_of

    columns, rows, (side, *more) = int(counts[1]), int(counts[2]), [v for v in lengths if v is not None]
    for name in names:
        dictionary_of(name)
    if kind == "chessboard":
        return Board(columns, rows, side)
    return (
        CharucoBoard(columns, rows, side, more[0], *names)
        if kind == "charuco"
        else TagGrid(columns, rows, side, more[0], *names)
    )


def _length(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 1e-4 < value < 10 else None
