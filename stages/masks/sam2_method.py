"""Masks by SAM 2 video: prompted on one frame, followed forward and backward, doubted by several cues, prompted again where it falls.

SAM 2 does not say when it has lost the object: its mask may swell over the whole picture or shrink to nothing. So each mask is held
against what SAM 2 scores itself, how much the mask depends on the threshold, and how area and depth change against the last good frame.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.errors import StageError
from stages.core.weights import entry, require
from stages.masks.finding import find_by_depth
from stages.masks.follow import decode, encode
from stages.masks.job import FrameMask, Job, Outcome
from stages.masks.trust import border_share, ramp, usual_areas
from stages.masks.working_frame import WorkingFrame

AGAIN_BELOW = 0.5
"""trust (0-1) below which a frame is prompted again with the place of the last good mask"""
GROWN = 0.1
"""share by which the last good mask's box is enlarged on each side for it: the object has moved since"""


def check_weights(name: str) -> None:
    """Raises StageError without transformers, WeightsError without the weights."""
    if importlib.util.find_spec("transformers") is None:
        raise StageError("masks.method=sam2 needs transformers, which is not installed", "pip install 'stereotwin[learned]'")
    require(name)


@dataclass(frozen=True)
class Seen:
    """What is kept of a frame: the mask as PNG bytes and the cues; depth_px: median disparity inside, NaN = none."""

    mask: bytes
    area: int
    present: float
    steady: float
    depth_px: float


class Sam2Method:
    """See the module docstring. `network` is for tests; without it the weights `name` are loaded."""

    def __init__(self, name: str, network: Any = None) -> None:
        self._name, self._network = name, network

    def segment(self, job: Job) -> Outcome:
        """Raises StageError without a prompt and anything that stands off a plane, WeightsError."""
        view = job.load(job.prompt.frame)
        box, how = job.prompt.box, "given"
        if box is None and not job.prompt.points:
            box, how = find_by_depth(view, job.rng), "the nearest compact thing that stands off the dominant plane"
            if box is None:
                raise StageError("no object could be found automatically", "give a box round it (--box x0,y0,x1,y1, or prompt.json)")
        network = self._network or self._load()
        start = job.frames.index(view.frame)
        first = _seen(network.prompt(start, view.rgb, list(job.prompt.points), box), view)
        if first.area == 0:
            raise StageError(f"SAM 2 finds no object at the prompt on frame {view.frame}",
                             "give a box that fits the object, or points on it")
        following = _Following(network, job, {start: first})
        following.run(range(start + 1, len(job.frames)), first, reverse=False)
        network.turn_back()
        following.run(range(start - 1, -1, -1), first, reverse=True)
        outcome = Outcome(_results(job, following.seen), seed_mask=decode(first.mask), seed_frame=view.frame)
        outcome.metrics |= {"kind": "SAM 2 video", "prompt": how, "prompt_frame": view.frame, "frames_prompted_again": following.again}
        return outcome

    def _load(self) -> Any:
        from stages.masks.sam2_network import load_network

        return load_network(require(self._name).path, entry(self._name).model, self._name)


@dataclass
class _Following:
    network: Any
    job: Job
    seen: dict[int, Seen]
    """by position in job.frames"""
    again: int = 0

    def run(self, positions: range, good: Seen, reverse: bool) -> None:
        frames = [self.job.frames[p] for p in positions]
        for position, view in zip(positions, self.job.views(frames), strict=True):
            found = _seen(self.network.follow(position, view.rgb, reverse), view)
            if _trust(found, good)[0] < AGAIN_BELOW:
                found = self._once_more(position, view, found, good, reverse)
            self.seen[position] = found
            good = found if _trust(found, good)[0] >= AGAIN_BELOW else good
            self.job.progress(len(self.seen), 2 * len(self.job.frames), "SAM 2 follows the object")

    def _once_more(self, position: int, view: WorkingFrame, found: Seen, good: Seen, reverse: bool) -> Seen:
        better: Callable[[Any], bool] = lambda answer: _trust(_seen(answer, view), good)[0] > _trust(found, good)[0]  # noqa: E731
        answer = self.network.correct(position, view.rgb, _box_round(decode(good.mask)), reverse, better)
        self.again += answer is not None
        return found if answer is None else _seen(answer, view)


def _seen(answer: Any, view: WorkingFrame) -> Seen:
    """Answer at the size of the view -> what is kept of it."""
    mask, sure, loose = (answer.logits > level for level in (0, 1, -1))
    inside = view.disparity[mask & np.isfinite(view.disparity)]
    steady = sure.sum() / max(1, loose.sum())
    return Seen(encode(mask), int(mask.sum()), answer.present, float(steady), float(np.median(inside)) if inside.size else float("nan"))


def _trust(seen: Seen, good: Seen, usual_area: float = float("nan")) -> tuple[float, str]:
    """(0-1, the weakest cue in words) against the last good frame and, where known, the usual area of the frames around."""
    if seen.area == 0:
        return 0.0, "SAM 2 finds no object"
    area = usual_area if usual_area > 0 else float(good.area)
    change = lambda a, b: -abs(np.log(a / b)) if a > 0 and b > 0 else float("nan")  # noqa: E731
    cues = {
        "SAM 2 doubts that the object is in the picture": ramp(seen.present, 0.5, 0.9),
        "the outline depends on the threshold: object and background look alike": ramp(seen.steady, 0.5, 0.85),
        "the area jumps against the neighbouring frames": ramp(change(seen.area, area), -0.8, -0.25),
        "the depth inside the mask jumps against the last good frame": ramp(change(seen.depth_px, good.depth_px), -0.5, -0.15),
    }
    known = {k: v for k, v in cues.items() if np.isfinite(v)}
    worst = min(known, key=lambda k: known[k])
    return known[worst], worst


def _results(job: Job, seen: dict[int, Seen]) -> Iterator[FrameMask]:
    usual = usual_areas([seen[p].area for p in range(len(job.frames))])
    good = seen[job.frames.index(job.prompt.frame)]
    for position, view in enumerate(job.views(job.frames)):
        now = seen[position]
        mask = decode(now.mask)
        trust, reason = _trust(now, good, usual[position])
        trust *= 0.85 if border_share(mask) > 0.03 else 1.0
        good = now if trust >= job.uncertain_below else good
        status = "lost" if now.area == 0 else "uncertain" if trust < job.uncertain_below else "ok"
        job.progress(len(job.frames) + position + 1, 2 * len(job.frames), "writing the masks")
        yield FrameMask(view, mask, status, round(float(trust), 3), "" if status == "ok" else reason)


def _box_round(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Of a mask that is not empty, enlarged by GROWN, inside the picture."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    dx, dy = GROWN * (columns[-1] - columns[0] + 1), GROWN * (rows[-1] - rows[0] + 1)
    h, w = mask.shape
    return (max(0.0, columns[0] - dx), max(0.0, rows[0] - dy), min(w - 1.0, columns[-1] + dx), min(h - 1.0, rows[-1] + dy))
