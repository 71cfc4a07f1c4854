"""How a piece of work is carried out: what travels together from a stage down to what computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

Progress = Callable[[int, int, str], None]
"""progress(done, total, note): cheap, call it per frame or per 100 steps"""


def nobody(done: int, total: int, note: str) -> None:
    """A `Progress` that nobody hears."""


@dataclass(frozen=True)
class Work:
    """Threads to use, the seed of what is drawn, and who hears how far it is. Threads and progress change no result."""

    workers: int = 1
    seed: int = 0
    progress: Progress = nobody

    def stretch(self, first: int, last: int, of: int) -> Work:
        """The same, as a part of a larger whole: its progress runs from `first` to `last` of `of`."""

        def told(done: int, total: int, note: str) -> None:
            self.progress(first + round((last - first) * done / max(total, 1)), of, note)

        return replace(self, progress=told)
