"""Where a camera that goes round a thing may have gone between two frames: starts for aligning their surfaces.

Alignment needs a start within about 15 degrees. Steps of a walk round an object are wider than that, but they are all turns about the same
middle: a handful of them about the upright axis cover what people do, the alignment itself finds the tilt.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.dense.alignment import align_surfaces
from stages.core.dense.look import Verdict, judge
from stages.core.dense.view import DenseView

TURNS_DEG = (0.0, -10.0, 10.0, -20.0, 20.0, -30.0, 30.0)
TUMBLE_DEG = 20.0
"""turn of a thing that a hand turns, between two frames, about any axis"""
TILT_DEG = 30.0
"""how far a camera mostly looks down: the upright axis in its own frame"""


@dataclass(frozen=True)
class Tied:
    """A motion that aligning found, what the frames say to it, and how well their grey values go together (the look's, or where that is
    bare, the alignment's own)."""

    b_from_a: np.ndarray
    verdict: Verdict
    correlation: float

    @property
    def score(self) -> float:
        """Ranks motions between the same two frames."""
        return self.correlation + 0.5 * self.verdict.meets - self.verdict.floats


def turning_starts(middle_a: np.ndarray, middle_b: np.ndarray) -> list[np.ndarray]:
    """(4, 4) b_from_a, turns about the upright axis that bring the middle (3,) in a to that in b, metres."""
    axis = np.array([0.0, -np.cos(np.radians(TILT_DEG)), -np.sin(np.radians(TILT_DEG))])
    return [_about(middle_a, middle_b, np.radians(turn) * axis) for turn in TURNS_DEG]


def tumbling_starts(middle_a: np.ndarray, middle_b: np.ndarray) -> list[np.ndarray]:
    """The same about axes all round: along the axes of the camera and half-way between them."""
    corners = [np.array(c, float) for c in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, c)) in (1, 3)]
    return [_about(middle_a, middle_b, np.radians(TUMBLE_DEG) * c / np.linalg.norm(c)) for c in corners]


def best_tied(a: DenseView, b: DenseView, starts: Sequence[np.ndarray], object_only: bool) -> Tied | None:
    """The best of the motions that alignment from any of the starts comes to; None when it comes to none."""
    found = [tied for start in starts if (tied := _tied(a, b, start, object_only)) is not None]
    return max(found, key=lambda t: t.score, default=None)


def as_claimed(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool, bare: float = 0.0) -> Tied:
    """What the frames say to a motion; `bare`: the correlation where their look cannot be judged."""
    verdict = judge(a, b, b_from_a, object_only)
    return Tied(b_from_a, verdict, verdict.correlation if np.isfinite(verdict.correlation) else bare)


def _tied(a: DenseView, b: DenseView, start: np.ndarray, object_only: bool) -> Tied | None:
    aligned = align_surfaces(a, b, start, object_only)
    return None if aligned is None else as_claimed(a, b, aligned.b_from_a, object_only, aligned.correlation)


def _about(middle_a: np.ndarray, middle_b: np.ndarray, turn: np.ndarray) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = cv2.Rodrigues(turn)[0]
    out[:3, 3] = middle_b - out[:3, :3] @ middle_a
    return out
