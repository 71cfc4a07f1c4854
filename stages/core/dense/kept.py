"""What is computed from a view alone and asked for again and again: its surface, its blurred pictures, its slopes.

A view is asked against many others, and against one other from many starts, so each of these is made once and kept. What was not asked
for the longest goes when all of it is larger than MOST_BYTES: of a capture of 2,000 frames only those under way are kept.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import numpy as np

MOST_BYTES = 64 << 20


class Kept:
    """Arrays by view and name. Safe between threads; two that ask at once may both compute."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._lock = most_bytes, Lock()
        self.bytes = 0
        """of all that is kept"""
        self._entries: OrderedDict[tuple, tuple[weakref.ref, tuple[np.ndarray, ...]]] = OrderedDict()

    def of(self, view: object, name: Hashable, make: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        """What `make` gives for this very view, read-only: it is handed to all who ask."""
        key = (id(view), name)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry[0]() is view:  # the number of a view that is gone may be another's now
                self._entries.move_to_end(key)
                return entry[1]
        made = make()
        for array in made:
            array.flags.writeable = False
        with self._lock:
            self._drop(key)
            self._entries[key] = (weakref.ref(view), made)
            self.bytes += _size(made)
            while self.bytes > self._most and len(self._entries) > 1:
                self._drop(next(iter(self._entries)))
        return made

    def _drop(self, key: tuple) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.bytes -= _size(entry[1])


KEPT = Kept()


def _size(arrays: tuple[np.ndarray, ...]) -> int:
    return sum(a.nbytes for a in arrays)
