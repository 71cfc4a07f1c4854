"""What a segmentation method is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from stages.core.camera import Rig
from stages.core.parallel import ordered_map
from stages.masks.cut.outline import CutSettings
from stages.masks.frame.prompt import Prompt
from stages.masks.frame.working_frame import WorkingFrame


@dataclass(frozen=True)
class Job:
    """A video to segment: usable frames in order, `load` reads one at the working size, `rig` and `prompt` are of the working size."""

    frames: list[int]
    load: Callable[[int], WorkingFrame]
    rig: Rig
    prompt: Prompt
    cut: CutSettings
    kind: str
    uncertain_below: float
    workers: int
    rng: np.random.Generator
    progress: Callable[[int, int, str], None]

    def views(self, frames: list[int]) -> Iterator[WorkingFrame]:
        """The frames in the order given, read ahead by the worker threads."""
        return ordered_map(self.load, frames, self.workers)


@dataclass(frozen=True)
class FrameMask:
    """One frame's result: view and mask (H, W) bool at the working size, status, trust, reason; as_a_whole: see `FrameCut`."""

    view: WorkingFrame
    mask: np.ndarray
    status: str
    trust: float
    reason: str
    as_a_whole: float = float("nan")


@dataclass
class Outcome:
    """The frames as they are finished, and what was found out about the capture (filled by the time the first frame comes)."""

    results: Iterator[FrameMask]
    metrics: dict[str, float | int | str | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    rest: dict[int, int] = field(default_factory=dict)
    """{frame: number of its run of rest} where the object is moved in the scene"""
    camera_still: bool = False
    """whether the camera keeps its place and the object moves"""
    seed_mask: np.ndarray | None = None
    seed_frame: int = 0


@dataclass
class Ticks:
    """Progress over the three passes; a kind of capture that skips one jumps over its third."""

    job: Job

    def named(self, note: str, number: int) -> Callable[[], None]:
        count = len(self.job.frames)
        done = number * count

        def tick() -> None:
            nonlocal done
            done = min(done + 1, (number + 1) * count)
            self.job.progress(done, 3 * count, note)

        return tick


class Method(Protocol):
    """A way to segment a video."""

    def segment(self, job: Job) -> Outcome:
        """Masks of all frames of the job, in order."""
        ...
