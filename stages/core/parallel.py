"""Frames side by side: threads, because the heavy calls (cv2, numba with nogil, torch) release the interpreter lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def usable_cores() -> int:
    """Cores that this process may run on, at least 1; a container's quota is not looked at."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """Results in input order with at most `workers` + 2 items in flight, so memory does not grow with the number of frames.

    An exception of `function` is raised at its item's turn.
    """
    import cv2

    from stages.core.blas_threads import one_blas_thread

    if workers <= 1:
        yield from map(function, items)
        return
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # otherwise every worker would start as many threads as there are cores
    pending: deque = deque()
    try:
        with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= workers + 2:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    finally:
        cv2.setNumThreads(before)
