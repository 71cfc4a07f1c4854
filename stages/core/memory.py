"""How much memory there is, and which settings fit into it: a method says what it needs before it starts.

With `memory: fixed` a run that will not fit is refused, with the estimate and the setting to lower. With `memory: auto` the settings are
lowered instead, as little as it takes, and the report says so. Estimates are rough; a share of what is free is left alone.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.core.errors import MachineError, OutOfMemory

Memory = Literal["fixed", "auto"]
LEFT_ALONE = 0.1
"""share of the free memory that estimates may be wrong by, or that others take meanwhile"""
_CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""limit and use of a container, version 2 and 1"""


_WORDS = (
    "insufficient memory",
    "allocate memory",
    "unable to allocate",
    "bad_alloc",
    "out of memory",
    "failed to allocate",
)
"""of OpenCV, torch, numpy and C++, whose errors for this have no type in common"""


@dataclass(frozen=True)
class Plan:
    """A way to run: the settings that differ from those asked for (none for the first), and what it needs."""

    changes: dict[str, Any]
    needed_gb: float


def free_gb(device: str = "cpu", cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Free memory of "cpu" (the machine's, or what the container may still take, if that is less) or of a device, in units of 1e9 bytes."""
    if device != "cpu":
        from stages.core.devices import free_memory, torch_device

        return free_memory(torch_device(device)) / 1e9
    import psutil

    free = float(psutil.virtual_memory().available)
    for limit, used in _CGROUPS:
        numbers = [_number(cgroup / name) for name in (limit, used)]
        if numbers[0] is not None and numbers[1] is not None:
            free = min(free, max(0.0, numbers[0] - numbers[1]))
    return free / 1e9


def total_gb(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Memory of the machine, or what the container may take at most, in units of 1e9 bytes."""
    import psutil

    limits = [n for name, _ in _CGROUPS if (n := _number(cgroup / name)) is not None]
    return min([float(psutil.virtual_memory().total), *limits]) / 1e9


def choose_plan(what: str, plans: Sequence[Plan], free: float, memory: Memory, advice: str) -> tuple[Plan, str]:
    """The first of `plans` (asked for, then ever smaller) that fits into `free` GB, and a warning ("" if nothing is lowered).

    `what` for the message, such as "depth.method=onnx"; `advice` names the settings to lower. Raises MachineError.
    """
    asked, fits = plans[0], [p for p in plans if p.needed_gb <= (1 - LEFT_ALONE) * free]
    if fits and fits[0] is asked:
        return asked, ""
    if fits and memory == "auto":
        lowered = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in fits[0].changes.items())
        return fits[0], (
            f"{what} needs about {asked.needed_gb:.1f} GB of memory, {free:.1f} GB are free: "
            f"run with {lowered} instead (about {fits[0].needed_gb:.1f} GB)"
        )
    least = "" if memory == "fixed" else f" (at the lowest settings {plans[-1].needed_gb:.1f} GB)"
    mend = f"{advice}, or set {what.partition('.')[0]}.memory=auto, which lowers it by itself" if fits else advice
    raise MachineError(f"{what} needs about {asked.needed_gb:.1f} GB of memory{least}, {free:.1f} GB are free", mend)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that memory ran out."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _WORDS)


def out_of_memory(what: str, peak_mb: int, lower: Sequence[str]) -> OutOfMemory:
    """The error for a stage that failed for want of memory; `what` names it and what happened, `lower` the settings that help."""
    return OutOfMemory(
        f"{what}: it held {peak_mb / 1e3:.2f} GB at its peak; {memory_limit()}",
        f"lower {' or '.join(lower)}, use --profile preview, or close other programs, then run the same command again: "
        "finished stages are kept",
    )


def memory_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> str:
    """In words, the lowest of what the machine has, its container may use, and this process may use."""
    import psutil

    limits = [(float(psutil.virtual_memory().total), "this machine has {} GB, of which {} GB are free now")]
    limits += [
        (n, "its container may use {} GB, of which {} GB are free now")
        for name, _ in _CGROUPS
        if (n := _number(cgroup / name))
    ]
    own = [
        n
        for n in (resource.getrlimit(r)[0] for r in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
        if n != resource.RLIM_INFINITY
    ]
    limits += [(float(n), "this process may use {} GB (ulimit); {} GB are free now") for n in own]
    limit, words = min(limits)
    return words.format(f"{limit / 1e9:.2f}", f"{free_gb(cgroup=cgroup):.2f}")


def _number(path: Path) -> float | None:
    """Of a file of the kernel; None where there is none, or it says "max"."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
