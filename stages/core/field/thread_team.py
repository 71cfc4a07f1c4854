"""A few threads that share out the numbered jobs of one kernel phase; the kernels release the interpreter lock.

Plain threads rather than numba's parallel loops: no OpenMP run time (unsafe after fork, spins while idle) and far shorter compile times.
Which thread runs which job is left to chance, so a job must own what it writes; then results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count


class ThreadTeam:
    """Runs `function(job)` for job = 0 .. jobs-1 on `threads` threads, the caller being one of them."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def run(self, function: Callable[[int], None], jobs: int) -> None:
        """Return when all jobs are done; the first exception of a job is raised."""
        if self._pool is None or jobs == 1:
            for job in range(jobs):
                function(job)
            return
        ticket = count()  # next() on it is atomic under the interpreter lock

        def work() -> None:
            while (job := next(ticket)) < jobs:
                function(job)

        helpers = [self._pool.submit(work) for _ in range(min(self.threads, jobs) - 1)]
        try:
            work()
        finally:
            wait(helpers)  # nobody may still be writing when an exception leaves here
        for helper in helpers:
            helper.result()
