"""Fine convex pieces put together to few parts: first the pairs whose common hull reaches beyond the mesh the least, then single pieces
moved from part to part."""

from __future__ import annotations

import heapq
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np

from stages.physics.overreach import Outward
from stages.physics.shapes import Shape, convex_hull

TOUCH_M = 1e-3
POWER = 4
"""of the reaches that are summed: the largest count most, yet the others give way for them"""
LEAST_GAIN = 1e-3
PASSES = 6
Group = frozenset[int]


class Grouping:
    """Which pieces make up which part. Hulls and reaches are remembered: the same groups come up again and again."""

    def __init__(self, pieces: list[Shape], outward: Outward, workers: int = 1) -> None:
        self._pieces, self._outward, self._workers = pieces, outward, workers
        low, high = (np.array([f(p.vertices, axis=0) for p in pieces]) for f in (np.min, np.max))
        self._adjacent = ((low[:, None] <= high[None] + TOUCH_M) & (high[:, None] >= low[None] - TOUCH_M)).all(2)
        self._hulls: dict[Group, Shape] = {frozenset([k]): p for k, p in enumerate(pieces)}
        self._reach: dict[Group, float] = {}

    def alone(self) -> list[Group]:
        """Every piece a group."""
        return [frozenset([k]) for k in range(len(self._pieces))]

    def hull(self, group: Group) -> Shape:
        """Of all its pieces."""
        if group not in self._hulls:
            self._hulls[group] = convex_hull(np.concatenate([self._pieces[k].vertices for k in group]))
        return self._hulls[group]

    def reach(self, group: Group) -> float:
        """How far its hull reaches beyond the mesh, metres."""
        if group not in self._reach:
            self._reach[group] = self._outward.reach(self.hull(group))
        return self._reach[group]

    def merged(self, groups: list[Group], error_m: float, most: int) -> list[Group]:
        """Pairs joined, those that reach least first, while they stay within `error_m`, and further where there are more than `most`."""
        left = set(groups)
        pairs = [(a, b) for a, b in combinations(groups, 2) if self._touch(a, b)]
        with ThreadPoolExecutor(self._workers) as pool:
            heap = list(pool.map(lambda pair: self._offer(*pair), pairs))
        heapq.heapify(heap)
        while heap:
            reach, *pair = heapq.heappop(heap)
            a, b = (frozenset(p) for p in pair)
            if a not in left or b not in left:
                continue
            if reach > error_m and len(left) <= most:
                break
            left -= {a, b}
            for other in left:
                if self._touch(other, a | b):
                    heapq.heappush(heap, self._offer(other, a | b))
            left.add(a | b)
        return sorted(left, key=sorted)

    def evened(self, groups: list[Group]) -> list[Group]:
        """Pieces given to a neighbouring group while that makes the sum of the reaches' powers smaller."""
        owner = {k: group for group in groups for k in group}
        for _ in range(PASSES):
            if not sum(self._moved(k, owner) for k in range(len(self._pieces))):
                break
        return sorted(set(owner.values()), key=sorted)

    def _moved(self, piece: int, owner: dict[int, Group]) -> bool:
        """Whether the piece went to another group."""
        own = owner[piece]
        if len(own) == 1:
            return False
        rest, best = own - {piece}, (0.0, own)
        for other in sorted({owner[int(k)] for k in np.flatnonzero(self._adjacent[piece])} - {own}, key=sorted):
            before = self._power(own) + self._power(other)
            gain = before - self._power(rest) - self._power(other | {piece})
            if gain > max(best[0], LEAST_GAIN * before):
                best = (gain, other)
        if best[1] is own:
            return False
        owner.update(dict.fromkeys(rest, rest))
        owner.update(dict.fromkeys(best[1] | {piece}, best[1] | {piece}))
        return True

    def _power(self, group: Group) -> float:
        return self.reach(group) ** POWER

    def _offer(self, a: Group, b: Group) -> tuple[float, list[int], list[int]]:
        return self.reach(a | b), sorted(a), sorted(b)

    def _touch(self, a: Group, b: Group) -> bool:
        return bool(self._adjacent[np.ix_(list(a), list(b))].any())
