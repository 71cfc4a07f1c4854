"""How many threads OpenBLAS takes: one in the warm process, whose forks then take their own share."""

from __future__ import annotations

import os

from stages.core.blas_threads import set_blas_threads

BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def give_blas_its_threads() -> None:
    """As many as OpenBLAS takes in a process of its own; it was loaded with one."""
    asked = os.environ.get(BLAS_THREADS) or os.environ.get("OMP_NUM_THREADS") or ""
    set_blas_threads(int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0)))
