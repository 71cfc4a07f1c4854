"""What a check says, and how its time and memory are taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from stages.core.devices import finish_work

OK, WRONG, SKIPPED, FIGURE = "ok", "WRONG", "skipped", "figure"


@dataclass(frozen=True)
class Sizes:
    """How large the checks are."""

    points: int
    """of a timed batch"""
    checked: int
    """points compared with the twin, which works in float64"""
    log2_entries: int
    levels: int
    steps: int
    """of the training that has to reach a shape"""
    batch: int
    picture: tuple[int, int]
    copied: int
    """bytes of the bandwidth measurement"""
    runs: int

    @staticmethod
    def full() -> Sizes:
        """For a GPU."""
        return Sizes(1 << 18, 4096, 19, 16, steps=300, batch=16384, picture=(720, 1280), copied=1 << 30, runs=20)

    @staticmethod
    def tiny() -> Sizes:
        """For Triton's interpreter on a CPU: everything runs, nothing is measured."""
        return Sizes(64, 128, 10, 3, steps=1, batch=64, picture=(60, 80), copied=1 << 20, runs=1)


@dataclass
class Row:
    """One line of the table; `figures` go to the JSON file too."""

    name: str
    state: str
    said: str
    figures: dict[str, float] = field(default_factory=dict)


def compared(name: str, error: float, tolerance: float, said: str = "", **figures: float) -> Row:
    """Right where the error is within the tolerance (a NaN is not)."""
    state = OK if error <= tolerance else WRONG
    return Row(
        name,
        state,
        f"error {error:.1e} (at most {tolerance:.0e}){'; ' + said if said else ''}",
        {"error": error, **figures},
    )


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference over the largest wanted value."""
    wanted = wanted.detach().double().cpu()
    return float((found.detach().double().cpu() - wanted).abs().max() / wanted.abs().max())


def timed(device: torch.device, run: Callable[[], object], runs: int) -> float:
    """Seconds of one call: the mean of `runs` after three that warm up, all of them launched before the clock stops."""
    for _ in range(min(3, runs)):
        run()
    finish_work(device)
    started = time.perf_counter()
    for _ in range(runs):
        run()
    finish_work(device)
    return (time.perf_counter() - started) / runs


def peak_bytes(device: torch.device, run: Callable[[], object]) -> float:
    """Largest memory that torch held during a call beyond what it held before; NaN where the device does not say."""
    if device.type != "cuda":
        run()
        return float("nan")
    finish_work(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    finish_work(device)
    return float(torch.cuda.max_memory_allocated(device) - before)


def table(rows: Iterable[Row]) -> str:
    """For the terminal."""
    rows = list(rows)
    width = max(len(r.name) for r in rows)
    return "\n".join(f"{r.name:{width}}  {r.state:8} {r.said}" for r in rows)
