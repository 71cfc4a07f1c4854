"""How many threads the loaded OpenBLAS libraries take (NumPy's wheel brings one, SciPy's another). Elsewhere there is none to ask."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

_NAMES = tuple(f"{maker}openblas_%s_num_threads{ints}" for maker in ("scipy_", "") for ints in ("64_", ""))


def set_blas_threads(count: int) -> None:
    """Of all that are loaded."""
    for library in _loaded():
        _call(library, "set", count)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Where threads of our own call it: each would start as many as there are cores, and they would wait for each other, computing."""
    before = [(library, _call(library, "get")) for library in _loaded()]
    for library, _ in before:
        _call(library, "set", 1)
    try:
        yield
    finally:
        for library, count in before:
            if count:
                _call(library, "set", count)


def _call(library: ctypes.CDLL, what: str, *count: int) -> int:
    """0 where the library has no such function."""
    name = next((n % what for n in _NAMES if hasattr(library, n % what)), None)
    return getattr(library, name)(*count) if name else 0


def _loaded() -> list[ctypes.CDLL]:
    found: list[ctypes.CDLL] = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/maps").read_text().splitlines()
        for path in sorted({line.split()[-1] for line in lines if "openblas" in line}):
            found.append(ctypes.CDLL(path))
    return found
