"""How many threads OpenBLAS takes: one in the warm process, whose forks then take their own share."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_SET_THREADS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def give_blas_its_threads() -> None:
    """As many as OpenBLAS takes in a process of its own; it was loaded with one."""
    asked = os.environ.get(BLAS_THREADS) or os.environ.get("OMP_NUM_THREADS") or ""
    count = int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):
        loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "openblas" in line}
        for path in sorted(loaded):
            library = ctypes.CDLL(path)
            for name in _SET_THREADS:
                if hasattr(library, name):
                    getattr(library, name)(count)
                    break
