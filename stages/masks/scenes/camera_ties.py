"""Places a frame whose features say nothing certain: its whole surface is laid onto that of a frame already placed.

A table that repeats or is bare, steps of 20 degrees and blur leave few features that match, but plane, things beside the object, shadows
and the object itself fit only one way. Right ties of rendered walks are at a correlation of 0.83 to 0.98; false ones below 0.8, but for
stripes that slide along themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.core.dense.look import judge
from stages.core.dense.turns import Tied, as_claimed, best_tied, turning_starts
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import inverse, seen_apart

LEAST_LOOK, LEAST_MEETS, MOST_FLOATS, LEAST_ASKED = 0.85, 0.5, 0.35, 400
"""what a tie must show: correlation of the look, share of the surface that meets and that floats, points asked"""
NEARLY, ALL_MEETS, NONE_FLOATS = 0.8, 0.95, 0.02
"""the same where the look is a little less certain: then all of the surface must meet"""
STEADY_LOOK, STEADY_MEETS, STEADY_FLOATS, STEADY_DEG = 0.75, 0.85, 0.05, 5.0
"""the same where the camera goes on as it did between the frames before, to within so much: one blurred frame must not part the walk"""
MOST_IN_VAIN = 12
"""frames that are tried when none could be tied"""
LEAST_GAIN = 0.02
"""by which a score must rise to prefer surfaces to features"""
MOST_TRIED = 300
"""frames that are tried: half a second each"""


@dataclass(frozen=True)
class Placed:
    """A frame that has its place, beside the one that is to get one. `steps`: what the camera does from it to that one if it goes on as
    before, or comes back, (4, 4) each."""

    view: DenseView
    scene_from_left: np.ndarray
    steps: list[np.ndarray]


@dataclass
class CameraTies:
    """`middle` (3,): where the object is before the camera, metres; about it a camera goes round."""

    middle: np.ndarray
    _tied: bool = False
    _tried: int = 0
    _starts: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self._starts = turning_starts(self.middle, self.middle)

    @property
    def used(self) -> bool:
        """Whether any frame needed them."""
        return self._tried > 0

    def place(self, view: DenseView, beside: list[Placed]) -> np.ndarray | None:
        """scene_from_left of a frame from those beside it; None when none of them bears a tie out."""
        if self._tried >= MOST_TRIED or (not self._tied and self._tried >= MOST_IN_VAIN):
            return None
        self._tried += 1
        for partner in beside:
            tied = best_tied(partner.view, view, [*partner.steps, *self._starts], False)
            if tied is not None and (_borne_out(tied) or self._goes_on(tied, partner.steps)):
                self._tied = True
                return partner.scene_from_left @ inverse(tied.b_from_a)
        return None

    def _goes_on(self, tied: Tied, steps: list[np.ndarray]) -> bool:
        """Whether the camera moves as it did between the frames before."""
        said = tied.verdict
        if said.asked < LEAST_ASKED or tied.correlation < STEADY_LOOK:
            return False
        if said.meets < STEADY_MEETS or said.floats > STEADY_FLOATS:
            return False
        back = inverse(tied.b_from_a)
        return any(seen_apart(back @ step, self.middle) < np.radians(STEADY_DEG) for step in steps)

    def better(self, view: DenseView, pose: np.ndarray, partner: Placed, least_gain: float) -> np.ndarray | None:
        """scene_from_left that goes together better with the partner than `pose` does, by more than `least_gain` of a score; None where
        alignment finds no such from there or from where the camera goes if it goes on."""
        if self._tried >= MOST_TRIED:
            return None
        self._tried += 1
        self._tied = True
        start = inverse(pose) @ partner.scene_from_left
        tied, before = (
            best_tied(partner.view, view, [start, *partner.steps[:1]], False),
            as_claimed(partner.view, view, start, False),
        )
        return (
            partner.scene_from_left @ inverse(tied.b_from_a)
            if tied is not None and tied.score > before.score + least_gain
            else None
        )


def _borne_out(tied: Tied) -> bool:
    """Whether the look is certain, or nearly so and all surfaces meet."""
    said = tied.verdict
    if said.asked < LEAST_ASKED:
        return False
    if tied.correlation >= LEAST_LOOK:
        return said.meets >= LEAST_MEETS and said.floats <= MOST_FLOATS
    return tied.correlation >= NEARLY and said.meets >= ALL_MEETS and said.floats <= NONE_FLOATS


def denied(view: DenseView, pose: np.ndarray, partner: DenseView, partner_pose: np.ndarray) -> bool:
    """Whether a placed frame and one beside it contradict each other."""
    return judge(partner, view, inverse(pose) @ partner_pose, False).other
