"""How much memory there is, and which settings fit into it: a method says what it needs before it starts.

With `memory: fixed` a run that will not fit is refused, with the estimate and the setting to lower. With `memory: auto` the settings are
lowered instead, as little as it takes, and the report says so. Estimates are rough; a share of what is free is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.core.errors import StageError

Memory = Literal["fixed", "auto"]
LEFT_ALONE = 0.1
"""share of the free memory that estimates may be wrong by, or that others take meanwhile"""
_CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""limit and use of a container, version 2 and 1"""


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


def choose_plan(what: str, plans: Sequence[Plan], free: float, memory: Memory, advice: str) -> tuple[Plan, str]:
    """The first of `plans` (asked for, then ever smaller) that fits into `free` GB, and a warning ("" if nothing is lowered).

    `what` for the message, such as "depth.method=onnx"; `advice` names the settings to lower. Raises StageError.
    """
    asked, fits = plans[0], [p for p in plans if p.needed_gb <= (1 - LEFT_ALONE) * free]
    if fits and fits[0] is asked:
        return asked, ""
    if fits and memory == "auto":
        lowered = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in fits[0].changes.items())
        return fits[0], (f"{what} needs about {asked.needed_gb:.1f} GB of memory, {free:.1f} GB are free: "
                         f"run with {lowered} instead (about {fits[0].needed_gb:.1f} GB)")
    least = "" if memory == "fixed" else f" (at the lowest settings {plans[-1].needed_gb:.1f} GB)"
    mend = f"{advice}, or set {what.partition('.')[0]}.memory=auto, which lowers it by itself" if fits else advice
    raise StageError(f"{what} needs about {asked.needed_gb:.1f} GB of memory{least}, {free:.1f} GB are free", mend)


def _number(path: Path) -> float | None:
    """Of a file of the kernel; None where there is none, or it says "max"."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
