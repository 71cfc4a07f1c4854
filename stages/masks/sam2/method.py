"""Masks by SAM 2 video: prompted where the user says, followed both ways, doubted by several cues, prompted again where trust falls.

SAM 2 does not say when it has lost the object: its mask may swell over the whole picture or shrink to nothing. So each mask is held
against what SAM 2 scores itself, how much the mask depends on the threshold, where the object's own motion carries its last good shape, and
how area and depth change. At the end every outline is placed again by depth and colours.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stages.core.devices import cuda_or_cpu
from stages.core.errors import StageError
from stages.core.memory import Memory, choose_plan, free_gb
from stages.core.parallel import ordered_map
from stages.core.weights import entry, require
from stages.masks.cut.colour_model import ColourModel, model_from_histograms
from stages.masks.follow.finding import find_by_depth
from stages.masks.follow.job import FrameMask, Job, Outcome
from stages.masks.follow.passes import Followed, decode, encode, learn_colours
from stages.masks.frame.prompt import Box, Prompt, outline_box
from stages.masks.frame.working_frame import WorkingFrame
from stages.masks.sam2.depth_outline import placed_again
from stages.masks.sam2.model import memory_plans, trained_size
from stages.masks.scenes.carried_shape import CarriedShape, overlap
from stages.masks.scenes.motion import Features
from stages.masks.trust.weakest_cue import border_share, ramp, usual_areas

AGAIN_BELOW = 0.5
"""trust (0-1) below which a frame is prompted again where the object should be"""
GROWN, GROWN_CARRIED = 0.1, 0.04
"""share by which the box for it is enlarged on each side: round the last good mask (the object has moved since), round the carried shape"""
NOT_FOUND = "the nearest compact thing that stands off the dominant plane"


def fitting_size(name: str, size_px: int, memory: Memory) -> tuple[int, str]:
    """Side of the square (0 asked for: the trained one) that fits into the free memory, and a warning ("" if it is the one asked for).

    Raises as `check_weights` does, and StageError where memory does not suffice.
    """
    check_weights(name)
    size_px = size_px or trained_size(entry(name).model)
    device = cuda_or_cpu()
    plans = memory_plans(require(name).path.stat().st_size, size_px, half=device != "cpu")
    plan, warning = choose_plan(
        "masks.method=sam2",
        plans,
        free_gb(device),
        memory,
        f"lower masks.sam2_size_px (now {size_px}), or take smaller masks.sam2_weights (now {name})",
    )
    return plan.changes.get("masks.sam2_size_px", size_px), warning


def check_weights(name: str) -> None:
    """Raises StageError without transformers, WeightsError without the weights."""
    if importlib.util.find_spec("transformers") is None:
        raise StageError(
            "masks.method=sam2 needs transformers, which is not installed", "pip install 'stereotwin[learned]'"
        )
    require(name)


@dataclass(frozen=True)
class Seen:
    """What is kept of a frame: the mask as PNG bytes and the cues; depth_px: median disparity inside, overlap with the carried shape."""

    mask: bytes
    area: int
    present: float
    steady: float
    depth_px: float
    overlap: float = float("nan")


class Sam2Method:
    """See the module docstring. `network` is for tests; without it the weights `name` are loaded, for a square of `size_px` (0: theirs)."""

    def __init__(self, name: str, network: Any = None, size_px: int = 0, by_depth: bool = True) -> None:
        self._name, self._network, self._size_px, self._by_depth = name, network, size_px, by_depth

    def segment(self, job: Job) -> Outcome:
        """Raises StageError without a prompt and anything that stands off a plane, WeightsError."""
        prompt, how = _prompt(job)
        following = _Following(self._network or self._load(), job, CarriedShape(job.rig))
        first = following.prompted(prompt)
        if first.area == 0:
            raise StageError(
                f"SAM 2 finds no object at the prompt on frame {prompt.frame}",
                "give a box that fits the object, or points on it",
            )
        for correction in job.prompt.corrections:
            if correction.says_it_all:
                following.prompted(correction)
        start = job.frames.index(prompt.frame)
        following.run(range(start, len(job.frames)), first, reverse=False)
        following.network.turn_back()
        following.run(range(start, -1, -1), first, reverse=True)
        results = _results(job, following.seen, following.colours if self._by_depth else None)
        outcome = Outcome(results, seed_mask=decode(first.mask), seed_frame=prompt.frame)
        outcome.metrics |= {
            "kind": "SAM 2 video",
            "prompt": how,
            "prompt_frame": prompt.frame,
            "frames_prompted_again": following.again,
            "frames_corrected": len(job.prompt.corrections),
            "frames_with_carried_shape": following.carried_frames,
        }
        return outcome

    def _load(self) -> Any:
        from stages.masks.sam2.network import load_network

        return load_network(require(self._name).path, entry(self._name).model, self._name, self._size_px)


def _prompt(job: Job) -> tuple[Prompt, str]:
    """What to start from, and where it comes from in words."""
    given = job.prompt
    if given.says_it_all or given.points:
        return given, "given"
    box = find_by_depth(job.load(given.frame), job.rng)
    if box is None:
        raise StageError(
            "no object could be found automatically", "give a box round it (--box x0,y0,x1,y1, or prompt.json)"
        )
    return replace(given, box=box), NOT_FOUND


@dataclass
class _Following:
    network: Any
    job: Job
    shape: CarriedShape
    seen: dict[int, Seen] = field(default_factory=dict)
    """by position in job.frames"""
    again: int = 0
    carried_frames: int = 0
    _colours: Followed = field(default_factory=Followed.empty)

    def prompted(self, prompt: Prompt) -> Seen:
        """The object on a frame of which the user says all; it stays in memory for the whole video."""
        view, position = self.job.load(prompt.frame), self.job.frames.index(prompt.frame)
        self.seen[position] = _seen(
            self.network.prompt(position, view.rgb, prompt.points, prompt.box, prompt.mask), view
        )
        return self.seen[position]

    def run(self, positions: range, good: Seen, reverse: bool) -> None:
        """Follow from the first of `positions`, which is known."""
        hints = {c.frame: c.points for c in self.job.prompt.corrections if not c.says_it_all}
        for position, (view, features) in zip(positions, self._prepared(positions), strict=True):
            found = self.seen.get(position)
            if found is None:
                found = self._followed(position, view, features, good, reverse, hints.get(view.frame, ()))
            self.seen[position] = found
            if _trust(found, good)[0] >= AGAIN_BELOW:
                good = found
                mask = decode(found.mask)
                self.shape.remember(view, mask, features)
                learn_colours(self._colours, view, mask)
            self.job.progress(len(self.seen), 2 * len(self.job.frames), "SAM 2 follows the object")

    @property
    def colours(self) -> ColourModel:
        """Of the object and of what is round it, in all trusted frames."""
        return model_from_histograms(self._colours.of_object, self._colours.of_background)

    def _prepared(self, positions: range) -> Iterator[tuple[WorkingFrame, Features]]:
        def one(position: int) -> tuple[WorkingFrame, Features]:
            view = self.job.load(self.job.frames[position])
            return view, self.shape.features(view)

        return ordered_map(one, list(positions), self.job.workers)

    def _followed(
        self, position: int, view: WorkingFrame, features: Features, good: Seen, reverse: bool, points: tuple
    ) -> Seen:
        expected = self.shape.expected(features)
        self.carried_frames += expected is not None
        if points:
            return _seen(self.network.amend(position, view.rgb, points, reverse), view, expected)
        found = _seen(self.network.follow(position, view.rgb, reverse), view, expected)
        if _trust(found, good)[0] >= AGAIN_BELOW:
            return found

        def better(answer):
            return _trust(_seen(answer, view, expected), good)[0] > _trust(found, good)[0]

        answer = self.network.correct(position, view.rgb, (), _place(expected, good), reverse, better)
        self.again += answer is not None
        return found if answer is None else _seen(answer, view, expected)


def _place(expected: np.ndarray | None, good: Seen) -> Box:
    """Where to look again."""
    return (
        outline_box(decode(good.mask), GROWN)
        if expected is None or not expected.any()
        else outline_box(expected, GROWN_CARRIED)
    )


def _seen(answer: Any, view: WorkingFrame, expected: np.ndarray | None = None) -> Seen:
    """Answer at the size of the view -> what is kept of it."""
    mask, sure, loose = (answer.logits > level for level in (0, 1, -1))
    inside = view.disparity[mask & np.isfinite(view.disparity)]
    steady = sure.sum() / max(1, loose.sum())
    depth = float(np.median(inside)) if inside.size else float("nan")
    return Seen(encode(mask), int(mask.sum()), answer.present, float(steady), depth, overlap(mask, expected))


def _trust(seen: Seen, good: Seen, usual_area: float = float("nan")) -> tuple[float, str]:
    """(0-1, the weakest cue in words) against the last good frame and, where known, the usual area of the frames around."""
    if seen.area == 0:
        return 0.0, "SAM 2 finds no object"
    area = usual_area if usual_area > 0 else float(good.area)

    def change(a, b):
        return -abs(np.log(a / b)) if a > 0 and b > 0 else float("nan")

    cues = {
        "SAM 2 doubts that the object is in the picture": ramp(seen.present, 0.5, 0.9),
        "the outline depends on the threshold: object and background look alike": ramp(seen.steady, 0.5, 0.85),
        "the outline differs from the last good shape, carried along by the object's motion": ramp(
            seen.overlap, 0.4, 0.75
        ),
        "the area jumps against the neighbouring frames": ramp(change(seen.area, area), -0.8, -0.25),
        "the depth inside the mask jumps against the last good frame": ramp(
            change(seen.depth_px, good.depth_px), -0.5, -0.15
        ),
    }
    known = {k: v for k, v in cues.items() if np.isfinite(v)}
    worst = min(known, key=lambda k: known[k])
    return known[worst], worst


def _results(job: Job, seen: dict[int, Seen], colours: ColourModel | None) -> Iterator[FrameMask]:
    usual = usual_areas([seen[p].area for p in range(len(job.frames))])
    # a box drawn by hand may cut the object a little: it told the network where to look, and does not bound the outline
    hints = {c.frame: replace(c, box=None) for c in (job.prompt, *job.prompt.corrections)}

    def exact(position: int) -> tuple[WorkingFrame, np.ndarray]:
        view, mask = job.load(job.frames[position]), decode(seen[position].mask)
        return view, mask if colours is None else placed_again(view, mask, colours, job.cut, hints.get(view.frame))

    good = seen[job.frames.index(job.prompt.frame)]
    for position, (view, mask) in enumerate(ordered_map(exact, list(range(len(job.frames))), job.workers)):
        now = seen[position]
        trust, reason = _trust(now, good, usual[position])
        trust *= 0.85 if border_share(mask) > 0.03 else 1.0
        good = now if trust >= job.uncertain_below else good
        status = "lost" if now.area == 0 else "uncertain" if trust < job.uncertain_below else "ok"
        job.progress(len(job.frames) + position + 1, 2 * len(job.frames), "writing the masks")
        yield FrameMask(view, mask, status, round(float(trust), 3), "" if status == "ok" else reason)
