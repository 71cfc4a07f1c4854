"""Follow the object from its prompt frame through the video, then look at every frame again with what all of them taught.

First pass: outward from the prompt frame, in order, coarse outlines only. Second pass: every frame by itself (in parallel), with the
colours of all frames, the finished background or hull, and the fine outline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np

from stages.core.parallel import ordered_map
from stages.masks.cut.colour_model import (
    BINS,
    density_above_uniform,
    histogram,
    likeness,
    model_from_histograms,
    with_shadows,
)
from stages.masks.cut.detached import without_strangers
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.frame_cut import FrameCut, cut_frame, range_in
from stages.masks.cut.hints import hinted
from stages.masks.cut.other_foreground import LIKELY, colour_ratio, seen_outside
from stages.masks.cut.outline import CutSettings, Window, jaccard, signed_distance
from stages.masks.cut.seed import COMMON, Seed
from stages.masks.follow.anew import found_anew, shrunk
from stages.masks.frame.prompt import Prompt
from stages.masks.frame.working_frame import WorkingFrame

SAME_COLOURS = 0.6
"""Bhattacharyya coefficient from which a region found anew may be the lost object"""
NEAR_OBJECT = 0.4
"""how far the object may reach beyond the mask's rectangle, as a share of its size"""
BESIDE = 0.2
"""how far from the object, as a share of its size (root of its area), what holds it teaches its colours"""
SAME_MASK = 0.6
"""overlap of the two passes below which the first is kept, and doubted"""
NO_HINTS: Mapping[int, Prompt] = MappingProxyType({})


class Scene(Protocol):
    """What each kind of capture offers; see scenes/still.py, scenes/moving.py, scenes/flow.py."""

    description: str
    seed: Seed
    may_leap: bool
    """whether the object may be anywhere in the next frame: what is expected comes from the frame before alone"""

    def start(self, view: WorkingFrame, mask: np.ndarray) -> None: ...

    def expect(self, view: WorkingFrame, previous: FrameCut | None, second_pass: bool = False) -> Expectation: ...

    def learn(self, view: WorkingFrame, cut: FrameCut) -> None: ...


@dataclass
class Followed:
    """Result of the first pass: PNG bytes of every mask, figures by frame, and the colours of object and background."""

    masks: dict[int, bytes] = field(default_factory=dict)
    cuts: dict[int, FrameCut] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    of_object: np.ndarray | None = None
    of_background: np.ndarray | None = None
    of_other: np.ndarray | None = None

    @staticmethod
    def empty() -> Followed:
        """Nothing seen yet."""
        return Followed(of_object=np.zeros((BINS,) * 3, np.float32), of_background=np.zeros((BINS,) * 3, np.float32))


def encode(mask: np.ndarray) -> bytes:
    """A bool mask as PNG bytes: a few kB, so that thousands fit in memory."""
    return cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def decode(data: bytes) -> np.ndarray:
    """The inverse of `encode`."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) > 127


def first_pass(
    seed: Seed,
    frames: list[int],
    views: Callable[[list[int]], Iterator[WorkingFrame]],
    scene: Scene,
    cut: CutSettings,
    fine: bool,
    tick: Callable[[], None],
    hints: Mapping[int, Prompt] = NO_HINTS,
    taught: Followed | None = None,
) -> Followed:
    """Masks of all frames, forward and then backward from the seed's; `hints`: what the user says of some frames; `taught`: the result of
    an earlier time, whose colours are known from the start."""
    at = frames.index(seed.frame)
    known = taught or seed
    out = Followed(of_object=known.of_object.copy(), of_background=known.of_background.copy(), of_other=known.of_other)
    first = FrameCut(seed.mask, 1.0, 1.0, float("nan"), seed.near_range)
    _record(out, seed.frame, first, "")
    for run in (frames[at + 1 :], frames[:at][::-1]):
        previous = first
        if run:
            scene.start(next(iter(views([seed.frame]))), seed.mask)
        expected_area = float(seed.mask.sum())
        for view in views(run):
            expected = hinted(scene.expect(view, previous), hints.get(view.frame), view.shape)
            area = float("nan") if view.frame in hints else expected_area
            found, reason = _follow_one(view, expected, previous, out, cut, fine, area, float(seed.mask.sum()))
            if scene.may_leap and view.frame not in hints and shrunk(seed, found):
                colours = model_from_histograms(out.of_object, out.of_background, out.of_other)
                again = found_anew(view, seed, colours, out.of_object, cut)
                if again is not None:
                    found, reason = again, ""
                    scene.start(view, found.mask)
            found = _own(view, found, seed)
            if not reason:
                scene.learn(view, found)
                learn_colours(out, view, found.mask, other=_other_thing(seed, view, found, expected))
                expected_area = float(found.mask.sum())
            previous = found
            _record(out, view.frame, found, reason)
            tick()
    return out


def _follow_one(view, expected, previous, out, cut, fine, expected_area, seed_area) -> tuple[FrameCut, str]:
    nothing = FrameCut(np.zeros(view.shape, bool), 0.0, float("nan"), float("nan"), previous.near_range)
    if expected.lost:
        return nothing, expected.lost
    found = cut_frame(view, expected, model_from_histograms(out.of_object, out.of_background, out.of_other), cut, fine)
    area = float(found.mask.sum())
    if area < 0.12 * expected_area or area < 30:
        return nothing, "nothing like the object where it should be"
    if expected.prior is None and not _is_the_object(view, found.mask, out.of_object, seed_area):
        return nothing, "the object is not in the picture"
    return found, ""


def _own(view: WorkingFrame, found: FrameCut, seed: Seed) -> FrameCut:
    """The same without what hangs apart and is not the object's."""
    mask = without_strangers(view, found.mask, seed.of_object)
    return found if mask is found.mask else replace(found, mask=mask, near_range=range_in(view, mask))


def _other_thing(seed: Seed, view: WorkingFrame, found: FrameCut, expected: Expectation) -> np.ndarray | None:
    """(H, W) bool: what holds the object in this frame, as far as it has not the object's first colours; None where nothing holds it."""
    if seed.of_other is None or not found.mask.any():
        return None
    # what lies close by may be a side of the object, in the hand's shade, that the mask has missed
    near = signed_distance(found.mask) > -BESIDE * float(np.sqrt(found.mask.sum()))
    beside = seen_outside(view, near, expected.surfaces, found.near_range)
    return beside & (colour_ratio(seed.of_object, seed.of_other, view.rgb) < LIKELY)


def _is_the_object(view: WorkingFrame, mask: np.ndarray, of_object: np.ndarray, seed_area: float) -> bool:
    """Whether something found by searching the whole picture is the object: by its size and colours."""
    return 0.2 * seed_area < mask.sum() < 5 * seed_area and likeness(view.rgb, mask, of_object) > SAME_COLOURS


def _record(out: Followed, frame: int, cut: FrameCut, reason: str) -> None:
    out.masks[frame] = encode(cut.mask)
    out.cuts[frame] = replace(cut, mask=np.zeros((0, 0), bool))  # the figures only: thousands of masks do not fit
    out.reasons[frame] = reason


def learn_colours(
    out: Followed, view: WorkingFrame, mask: np.ndarray, margin_px: int = 5, other: np.ndarray | None = None
) -> None:
    """Add to `out` the colours well inside and well outside the outline, and those of what holds the object (`other` (H, W) bool)."""
    kernel = np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8)
    inner, outer = cv2.erode(mask.astype(np.uint8), kernel) > 0, cv2.dilate(mask.astype(np.uint8), kernel) == 0
    sparse = np.zeros(view.shape, bool)
    sparse[::2, ::2] = True
    if out.of_other is not None and other is not None:
        out.of_other = out.of_other + histogram(view.rgb[other & sparse].astype(np.float32))
        inner &= colour_ratio(out.of_object, out.of_other, view.rgb) > 0
    if inner.any():
        out.of_object += histogram(view.rgb[inner & sparse].astype(np.float32))
    out.of_background += histogram(
        view.rgb[_surely_outside(view, mask, outer, out.of_background) & sparse].astype(np.float32)
    )


def _surely_outside(view: WorkingFrame, mask: np.ndarray, outer: np.ndarray, of_background: np.ndarray) -> np.ndarray:
    """(H, W) bool: what may teach the background's colours. Within reach of the object only what is known to be its colour: a side that the
    mask misses must not become background for good."""
    if not mask.any():
        return outer
    near = np.zeros_like(mask)
    near[Window.around(mask, round(NEAR_OBJECT * float(np.sqrt(mask.sum())))).slices] = True
    known = density_above_uniform(with_shadows(of_background), view.rgb.astype(np.float32)) > COMMON
    return outer & (~near | known)


def second_pass(
    followed: Followed,
    frames: list[int],
    load: Callable[[int], WorkingFrame],
    scene: Scene,
    cut: CutSettings,
    workers: int,
    hints: Mapping[int, Prompt] = NO_HINTS,
) -> Iterator[tuple[WorkingFrame, FrameCut]]:
    """(frame, refined cut) of every frame in order; frames without a first mask come back empty where nothing is found again."""
    colours = model_from_histograms(followed.of_object, followed.of_background, followed.of_other)

    seed_area = float(decode(followed.masks[scene.seed.frame]).sum())

    def one(frame: int) -> tuple[WorkingFrame, FrameCut]:
        view, mask = load(frame), decode(followed.masks[frame])
        own = replace(followed.cuts[frame], mask=mask)
        expected = hinted(scene.expect(view, own, second_pass=True), hints.get(frame), view.shape)
        if expected.lost:
            return view, own
        refined = cut_frame(view, expected, colours, cut, fine=True)
        refined = _own(view, refined, scene.seed)
        if expected.prior is None and not _is_the_object(view, refined.mask, followed.of_object, seed_area):
            return view, own
        if mask.any() and jaccard(refined.mask, mask) < SAME_MASK:
            return view, replace(own, doubt="the first and the second look at this frame disagree")
        return view, refined

    yield from ordered_map(one, frames, workers)
