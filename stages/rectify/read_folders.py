"""Image folders left/ and right/: which file of one goes with which of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from stages.core.capture import last_number, pair_files
from stages.rectify.raw_pairs import Picture, RawPair


class FolderReader:
    """Pairs by the last number in the names where each side's are distinct, else by order (then the counts must agree)."""

    sequential = False

    def __init__(self, left: tuple[Path, ...], right: tuple[Path, ...]) -> None:
        self.notes: list[str] = []
        self.pairs = pair_files(left, right)
        self.count = len(self.pairs)

    def stream(self, wanted: Callable[[int], bool] = lambda frame: True) -> Iterator[RawPair]:
        """See PairReader."""
        for k, (left, right) in enumerate(self.pairs):
            if wanted(k):
                yield RawPair(k, left and Picture(left), right and Picture(right), _either(left, right).name)

    def numbers(self) -> list[int] | None:
        """The number in each frame's file names, where they pair by number."""
        found = [last_number(_either(*pair)) for pair in self.pairs]
        distinct = {n for n in found if n is not None}
        return [n for n in found if n is not None] if len(distinct) == len(found) else None


def _either(left: Path | None, right: Path | None) -> Path:
    """The one that is there; a pair has at least one."""
    path = left or right
    assert path is not None
    return path
