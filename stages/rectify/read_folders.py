"""Image folders left/ and right/: which file of one goes with which of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path

from stages.core.frame_names import Number, distinct_numbers, gaps, listed, pair_files
from stages.core.picture_size import MOST_MEGAPIXELS
from stages.rectify import exif
from stages.rectify.pairing import Shift
from stages.rectify.raw_pairs import Picture, RawPair


class FolderReader:
    """Pairs by the last number in the names where each side's are distinct, else by order (then the counts must agree)."""

    sequential = False

    def __init__(
        self, left: tuple[Path, ...], right: tuple[Path, ...], most_megapixels: float = MOST_MEGAPIXELS
    ) -> None:
        self.most_megapixels = most_megapixels
        self.pairs, self.notes = pair_files(left, right)
        self.count = len(self.pairs)
        if lacking := gaps(self.numbers() or []):
            self.notes.append(
                f"the numbers {listed(lacking)} are missing in both left/ and right/: were pictures dropped, or left out?"
            )

    def stream(self, wanted: Callable[[int], bool] = lambda frame: True) -> Iterator[RawPair]:
        """See PairReader."""
        for k, (left, right) in enumerate(self.pairs):
            if wanted(k):
                yield RawPair(k, self._picture(left), self._picture(right), _either(left, right).name)

    def shifted(self, shift: Shift) -> FolderReader:
        """The same pictures, each left one with the right one that `shift` names."""
        made, right = copy(self), [right for _, right in self.pairs]
        partners = [shift.partner(k) for k in range(len(right))]
        later = [None if p is None or p >= len(right) else right[p] for p in partners]
        made.pairs = [(left, right) for (left, _), right in zip(self.pairs, later, strict=True) if left or right]
        made.count = len(made.pairs)
        return made

    def orientation_note(self) -> str:
        """A warning where the pictures are marked to be turned."""
        return exif.note([p for pair in self.pairs for p in pair if p is not None])

    def _picture(self, path: Path | None) -> Picture | None:
        return None if path is None else Picture(path, most_megapixels=self.most_megapixels)

    def numbers(self) -> list[Number] | None:
        """The number in each frame's file names, where they pair by number."""
        return distinct_numbers([_either(*pair) for pair in self.pairs])


def _either(left: Path | None, right: Path | None) -> Path:
    """The one that is there; a pair has at least one."""
    path = left or right
    assert path is not None
    return path
