"""Does the object's surface agree with poses that marks on its support gave?

Marks that stand still beside the object, or another pattern, would lay its views onto each other wrongly. Then surfaces float before
what other frames saw or fall outside their masks, and pictures taken from nearly the same side do not show the same. On a real plush dog
(6 views) and rendered captures right poses had 0.00 to 0.03 floating and a look of 0.61 to 0.90; one of six frames turned round 0.10; marks
that stood still under a nearly square bottle 0.06 and a look of 0.39.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.base import StageContext, StageError
from stages.core.camera import Rig
from stages.core.dense.look import judge
from stages.core.dense.view import DenseView, both_ways, close_view_of
from stages.core.frames import FrameReader
from stages.core.geometry.rigid import inverse, rotation_angle
from stages.core.parallel import ordered_map
from stages.turntable.config import TurntableConfig

MOST_FRAMES = 24
"""evenly taken of more; every pair of them is asked"""
NEAR_RAD = np.radians(50)
"""views turned by less show much of the same"""
ADVICE = "put the marks on what turns with the object, none on what stands still beside it; and look at the masks"


@dataclass(frozen=True)
class SurfaceWord:
    """Share of the asked surface that floats, of all pairs and of the pairs of the worst frame; median look of near pairs, NaN = none."""

    floating: float
    worst: float
    worst_frame: int
    look: float


def ask_surface(rig: Rig, reader: FrameReader, poses: Mapping[int, np.ndarray], context: StageContext) -> SurfaceWord:
    """What the views say to the poses (object_from_left)."""
    every = sorted(poses)
    frames = [
        every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(MOST_FRAMES, len(every))).round().astype(int))
    ]
    views = dict(ordered_map(lambda f: (f, close_view_of(rig, reader, f)), frames, context.workers))
    pairs = [(a, b) for a in frames for b in frames if a < b]
    moved = {(a, b): inverse(poses[b]) @ poses[a] for a, b in pairs}
    said = dict(
        zip(
            pairs,
            ordered_map(lambda p: _summed(views[p[0]], views[p[1]], moved[p]), pairs, context.workers),
            strict=True,
        )
    )
    own = {f: _share([s for p, s in said.items() if f in p]) for f in frames}
    worst = max(own, key=lambda f: own[f])
    near = [p for p in pairs if rotation_angle(moved[p]) < NEAR_RAD]
    looks = [v.correlation for v in (judge(views[a], views[b], moved[a, b], True) for a, b in near) if v.judged]
    return SurfaceWord(
        _share(list(said.values())), own[worst], worst, float(np.median(looks)) if looks else float("nan")
    )


def refuse_contradiction(word: SurfaceWord, config: TurntableConfig) -> None:
    """Raises StageError where the surface denies the poses."""
    start = "laid onto each other by the marks on the support, "
    if word.floating > config.max_floating or word.worst > config.max_floating_frame:
        raise StageError(
            f"{start}{word.floating:.0%} of the object's surface floats before what other frames saw or falls outside their masks, "
            f"{word.worst:.0%} of frame {word.worst_frame}'s: the marks do not turn with the object",
            ADVICE,
        )
    if word.look < config.min_look:
        raise StageError(
            f"{start}pictures taken from nearly the same side do not show the same (correlation {word.look:.2f}, "
            f"{config.min_look:g} is asked for): the marks do not turn with the object",
            ADVICE,
        )


def _summed(a: DenseView, b: DenseView, b_from_a: np.ndarray) -> np.ndarray:
    """(floating, asked) points of both directions."""
    found = both_ways(a, b, b_from_a, True)
    return np.sum([[s.violate * s.asked, s.asked] for s in found], 0)


def _share(said: list[np.ndarray]) -> float:
    total = np.sum(said, 0) if said else np.zeros(2)
    return float(total[0] / total[1]) if total[1] else 0.0
