"""Which right picture goes with each left one, where it is not the one of the same place."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Shift:
    """Left frame k goes with right frame k + by(k); `steps` holds (first frame, by) in order of the frames, the first from frame 0."""

    steps: tuple[tuple[int, int], ...] = ((0, 0),)

    def by(self, frame: int) -> int:
        """Of a left frame."""
        return next((by for first, by in reversed(self.steps) if frame >= first), self.steps[0][1])

    def partner(self, frame: int) -> int | None:
        """The right frame of a left one. None where the right camera has no picture of that moment: it goes to the frame before."""
        found = frame + self.by(frame)
        before = frame - 1 + self.by(frame - 1) if frame else -1
        return found if found > before and found >= 0 else None

    def left_of(self, right: int) -> int | None:
        """The left frame that a right one goes with, None if there is none."""
        found = (right - by for _, by in self.steps)
        return next((k for k in found if k >= 0 and self.partner(k) == right), None)

    @property
    def moves(self) -> bool:
        """Whether any frame gets another partner than its own."""
        return any(by for _, by in self.steps)

    def words(self) -> str:
        """For a warning or an error."""
        parts = []
        for k, (first, by) in enumerate(self.steps):
            places = "" if abs(by) == 1 else f"{abs(by)} places "
            order = "after" if by > 0 else "before"
            fits = "pictures of one place fit"
            if by:
                fits = f"each left picture fits the right one {places}{order} its partner, not its partner"
            if len(self.steps) > 1:
                fits += f" from frame {first} on" if k else f" before frame {self.steps[1][0]}"
            parts.append(fits)
        lost = [
            f"the {'right' if b < a else 'left'} camera has no picture of the moment of frame {first}"
            for (_, a), (first, b) in itertools.pairwise(self.steps)
        ]
        return "; ".join(parts + lost)
