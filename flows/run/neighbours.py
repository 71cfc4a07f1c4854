"""The runs under way on this machine, whoever started them: each keeps a locked file in a folder of the machine, with what it needs.

By that a worker knows whether there is room for one more (admission.py), and a run how many share the cores. In a container the folder, the
cores and the memory are the container's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.core.file_locks import is_held, try_lock
from stages.core.parallel import usable_cores

FRESH_S = 30.0
"""a file that is younger may not be locked yet"""
_QUOTA = (
    Path("/sys/fs/cgroup/cpu.max"),
    Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


@dataclass(frozen=True)
class Neighbour:
    """One run: its process, its Prefect flow run ("" without), and the memory that it may come to hold."""

    pid: int = 0
    flow_run: str = ""
    needs_gb: float = 0.0


def folder() -> Path:
    """TWIN_MACHINE_RUNS, else one in the temporary folder that all users share."""
    return Path(os.environ.get("TWIN_MACHINE_RUNS") or Path(tempfile.gettempdir()) / "stereotwin-runs")


@contextlib.contextmanager
def among_neighbours(run: str, flow_run: str, needs_gb: float) -> Iterator[None]:
    """Inside, this process is a run that others see. Where the file cannot be written it is not seen, and goes on."""
    path = folder() / f"{run}.{os.getpid()}.run"
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            _make(path.parent)
            if (handle := try_lock(path, make=True)) is not None:
                held.enter_context(handle)
                held.callback(path.unlink, missing_ok=True)
                handle.write(json.dumps(asdict(Neighbour(os.getpid(), flow_run, needs_gb))).encode())
                handle.flush()
        yield


def neighbours() -> list[Neighbour]:
    """Of all that live. Files of dead ones go."""
    found = []
    for path in folder().glob("*.run"):
        with contextlib.suppress(OSError):
            if is_held(path):
                found.append(_read(path))
            elif time.time() - path.stat().st_mtime > FRESH_S:
                path.unlink()
    return found


def cores() -> int:
    """That this process may use: of the machine, its affinity, and its container's quota, at least 1."""
    there = usable_cores()
    return max(1, min(there, _quota() or there))


def share_of_cores() -> int:
    """Threads for a stage that starts now, where all runs of the machine are to have as many; 0 for all that it sees."""
    share = max(1, cores() // max(1, len(neighbours())))
    return 0 if share >= usable_cores() else share


def _quota() -> int | None:
    """Whole cores that the container may use, rounded up; None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        limit, period = (
            _QUOTA[0].read_text().split() if _QUOTA[0].exists() else (_QUOTA[1].read_text(), _QUOTA[2].read_text())
        )
        if limit.strip() not in ("max", "-1"):
            return -(-int(limit) // int(period))
    return None


def _make(path: Path) -> None:
    """Like the temporary folder itself: everybody may add, and remove only his own."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o1777)


def _read(path: Path) -> Neighbour:
    """What it says; one that is being written, or is of a newer version, counts without its needs."""
    try:
        said = json.loads(path.read_bytes())
        return Neighbour(int(said["pid"]), str(said["flow_run"]), float(said["needs_gb"]))
    except (ValueError, KeyError, TypeError):
        return Neighbour()
