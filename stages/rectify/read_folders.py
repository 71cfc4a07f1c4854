"""Image folders left/ and right/: which file of one goes with which of the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.core.errors import CaptureError
from stages.rectify.raw_pairs import Picture, RawPair

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


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


def pair_files(left: tuple[Path, ...], right: tuple[Path, ...]) -> list[tuple[Path | None, Path | None]]:
    """Pairs in capture order. Raises CaptureError where it cannot be known what belongs together."""
    by_number = [{last_number(p): p for p in side} for side in (left, right)]
    if all(None not in numbers and len(numbers) == len(side) for numbers, side in zip(by_number, (left, right), strict=True)):
        common = by_number[0].keys() & by_number[1].keys()
        if not common:
            raise CaptureError(f"no number occurs in the names of both left/ and right/ ({left[0].name} .., {right[0].name} ..)",
                               "pictures taken together must carry the same number, as left/left000012.jpg and right/right000012.jpg")
        return [(by_number[0].get(n), by_number[1].get(n)) for n in sorted(by_number[0].keys() | by_number[1].keys())]
    if len(left) != len(right):
        raise CaptureError(f"left/ has {len(left)} pictures and right/ has {len(right)}, and their names carry no distinct numbers: "
                           "it cannot be known which one is missing", "number the pictures, the same number for both cameras")
    natural = lambda p: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", p.name)]  # noqa: E731
    return list(zip(sorted(left, key=natural), sorted(right, key=natural), strict=True))


def last_number(path: Path) -> int | None:
    """The last run of digits in a file name without its suffix."""
    found = _LAST_NUMBER.search(path.stem)
    return int(found[1]) if found else None
