"""The space that a field fills: how the world maps to it, and which cells of it may hold something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.core.field.thread_team import ThreadTeam
from stages.novel_views.radiance.marching import CELLS, chessboard_gap, march, runs

FADE = np.float32(0.3)
"""of a remembered density at each renewal: what has become empty must not hide for long what lies behind"""
LEAST_ALPHA = 0.01
"""of one step through a cell, below which the cell counts as empty"""
UNKNOWN = np.float32(1e-3)
"""density of a cell that has not been asked: thin, but not empty"""
GAPS = 4
"""renewals between two looks at how far the empty cells reach; a jump that is too long for so long does no harm"""
MOST_GAP = 40


@dataclass(frozen=True)
class Frame:
    """world -> space: (x - `low`) / `size`. `contracted`: then the space is in radii from the middle; else it is the unit cube."""

    low: np.ndarray
    size: float
    contracted: bool

    def rays(self, eyes: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) eyes and unit rays of the world, float32 in the space; lengths along them are the world's by `size`."""
        return np.ascontiguousarray((eyes - self.low) / self.size, np.float32), np.ascontiguousarray(rays, np.float32)


@dataclass(frozen=True)
class Samples:
    """Packed samples: `at (N, 3)` in the cube, `along (N,)`; ray r has `count[r]` of them from `start[r]` on."""

    at: np.ndarray
    along: np.ndarray
    start: np.ndarray
    count: np.ndarray


class Space:
    """`density (n, n, n)` remembered of each cell, 0 = empty; cells that are not `open` stay empty."""

    def __init__(self, frame: Frame, opened: np.ndarray | None, step: float, near: float, team: ThreadTeam) -> None:
        self.frame, self.step, self.near, self._team = frame, np.float32(step), np.float32(near), team
        self.open = np.ones((CELLS,) * 3, bool) if opened is None else opened
        self.density = np.where(self.open, UNKNOWN, np.float32(0))
        self.gap = np.zeros(self.density.shape, np.uint8)
        self._cells = np.flatnonzero(self.open)
        self._next, self._renewals = 0, 0
        self._least = np.float32(-np.log(1 - LEAST_ALPHA) / step)
        self._kept, self._asked = np.zeros(len(self._cells), np.float32), np.zeros(len(self._cells), bool)
        chessboard_gap(self.density, self.gap, MOST_GAP)

    @property
    def occupied(self) -> float:
        """Share of the cube's cells."""
        return float((self.density > 0).mean())

    def renew(self, ask: Callable[[np.ndarray], np.ndarray], count: int, rng: np.random.Generator) -> None:
        """Ask for the density at a random place of the next `count` cells in turn, (N, 3) -> (N,): after some renewals all had theirs."""
        if self._next == 0:
            self._order = rng.permutation(len(self._cells))
        index = self._order[self._next : self._next + count]
        self._next = 0 if self._next + count >= len(self._cells) else self._next + count
        corner = np.stack(np.unravel_index(self._cells[index], self.open.shape), -1)
        x = ((corner + rng.random((len(index), 3))) / CELLS).astype(np.float32)
        self._kept[index] = np.maximum(self._kept[index] * FADE, ask(x))
        self._asked[index] = True
        least = min(
            self._least, np.float32(self._kept[self._asked].mean(dtype=np.float64))
        )  # at first nothing is dense yet
        self.density.reshape(-1)[self._cells] = np.where(
            self._asked, np.where(self._kept >= least, self._kept, 0), UNKNOWN
        )
        self._renewals += 1
        if self._renewals % GAPS == 0:
            chessboard_gap(self.density, self.gap, MOST_GAP)

    def samples(self, eye: np.ndarray, ray: np.ndarray, jitter: np.ndarray, most: int) -> Samples:
        """Of rays (R, 3), at most `most` in all: rays that no longer fit have none."""
        parts = runs(len(eye))
        each = -(-most // len(parts))
        at, along = np.empty((len(parts), each, 3), np.float32), np.empty((len(parts), each), np.float32)
        counts: list[np.ndarray] = [np.empty(0, np.int32)] * len(parts)

        def run(job: int) -> None:
            counts[job] = march(
                eye,
                ray,
                jitter,
                self.step,
                self.near,
                self.frame.contracted,
                self.density,
                self.gap,
                *parts[job],
                each,
                at[job],
                along[job],
            )

        self._team.run(run, len(parts))
        count = np.concatenate(counts)
        used = [int(c.sum()) for c in counts]
        start = np.cumsum(count) - count
        return Samples(
            np.concatenate([a[:u] for a, u in zip(at, used, strict=True)]),
            np.concatenate([a[:u] for a, u in zip(along, used, strict=True)]),
            start.astype(np.int64),
            count,
        )
