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
                yield RawPair(k, left and Picture(left), right and Picture(right), (left or right).name)

    def numbers(self) -> list[int] | None:
        """The number in each frame's file names, where they pair by number."""
        found = [last_number(left or right) for left, right in self.pairs]
        return found if None not in found and len(set(found)) == len(found) else None
