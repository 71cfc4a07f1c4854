"""Do the surfaces and masks of both sessions bear out the motion that their spots voted for?

The same letters on another side, or on another object, vote like the object itself. So no surface of one session may float before what
the other saw, nor fall outside its masks; frames that look from the same side must meet and show the same print; and surfaces laid onto
each other must stay where they are. On rendered sessions true motions had floating below 0.006, meeting above 0.94 and a look of 0.65 to
0.96; front taken for back, by letters that both sides have, 0.05, 0.91 and 0.28 to 0.47.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.dense.alignment import align_surfaces
from stages.core.dense.look import judge
from stages.core.dense.view import DenseView, both_ways, close_view_of
from stages.core.errors import StageError
from stages.core.geometry.rigid import inverse, transform
from stages.core.parallel import ordered_map
from stages.merge.config import MergeConfig
from stages.merge.session import Session

SAME_SIDE = np.radians(40)
"""frames look from the same side when their directions differ by less"""
LEAST_ASKED = 600
"""surface points that must be asked before surfaces can tell"""
ALIGNED, MOST_ALIGNED = 3, 12
"""pairs of frames whose surfaces are laid onto each other: at least, at most"""
STAYS_M, STAYS_SHARE = 0.002, 0.02
"""surfaces stay when most move by less than the larger of this and of this share of the object's size"""


@dataclass(frozen=True)
class SurfaceWord:
    """Shares of the asked surface that floats or falls off, and that meets (NaN = no frames look from the same side); how well the
    details of both pictures go together there (median correlation, NaN = bare); median movement of surfaces that were laid onto each
    other, metres (NaN = none could be)."""

    floating: float
    meeting: float
    look: float
    moved_m: float


def ask_surfaces(
    first: tuple[Session, list[int]], second: tuple[Session, list[int]], motion: np.ndarray, workers: int
) -> SurfaceWord:
    """What the key frames of both sessions say to `motion` (first_from_second)."""
    views = [
        dict(ordered_map(lambda f, s=s: (f, close_view_of(s.rig, s.reader, f)), frames, workers))
        for s, frames in (first, second)
    ]
    pairs = [(a, b) for a in first[1] for b in second[1]]
    placed = {f: motion @ second[0].poses[f] for f in second[1]}
    apart = {(a, b): _angle(first[0].poses[a], placed[b], first[0].centre) for a, b in pairs}

    def asked(p):
        return (views[0][p[0]], views[1][p[1]], inverse(placed[p[1]]) @ first[0].poses[p[0]])

    said = dict(zip(pairs, ordered_map(lambda p: _summed(*asked(p)), pairs, workers), strict=True))
    near = sorted((p for p in pairs if apart[p] < SAME_SIDE), key=lambda p: apart[p])
    looks = [v.correlation for v in ordered_map(lambda p: judge(*asked(p), True), near, workers) if v.judged]
    moved = [m for m in ordered_map(lambda p: _moved(*asked(p)), near[:MOST_ALIGNED], workers) if m is not None]

    def median(values, least):
        return float(np.median(values)) if len(values) >= least else float("nan")

    floating, meeting = _pooled([said[p] for p in pairs], 1), _pooled([said[p] for p in near], 0)
    return SurfaceWord(floating, meeting, median(looks, 1), median(moved, ALIGNED))


def refuse_contradiction(word: SurfaceWord, first: Session, second: Session, config: MergeConfig) -> None:
    """Raises StageError where the surfaces deny the motion, or cannot be asked."""
    advice = (
        "are both sessions of the same object? Look at the masks of both twins: a hand or a part of the support must not count as "
        "object; and show a side with clear print in both"
    )
    who = f"{first.name} and {second.name}"
    if not np.isfinite(word.floating) or not np.isfinite(word.meeting):
        raise StageError(
            f"{who}: no frames look at the object from the same side, so surfaces cannot confirm how they fit together",
            "take some pictures in the second session from a side that the first one shows too",
        )
    if word.floating > config.max_floating:
        raise StageError(
            f"{who}: laid onto each other, {word.floating:.0%} of the surface floats before what the other session saw or falls "
            f"outside its masks ({config.max_floating:.0%} may): not one object in one shape",
            advice,
        )
    if word.meeting < config.min_meeting:
        raise StageError(
            f"{who}: laid onto each other, only {word.meeting:.0%} of the surface meets that of the other session",
            advice,
        )
    if not word.look >= config.min_look:
        raise StageError(
            f"{who}: laid onto each other by spots that look alike, their pictures do not show the same print all over "
            f"(correlation {word.look:.2f}, {config.min_look:g} is asked for)",
            advice,
        )
    if word.moved_m > max(STAYS_M, STAYS_SHARE * first.size_m):
        raise StageError(
            f"{who}: surfaces laid onto each other by spots that look alike move by {1e3 * word.moved_m:.1f} mm when they are aligned",
            advice,
        )


def _summed(a: DenseView, b: DenseView, b_from_a: np.ndarray) -> np.ndarray:
    """(agree, violate, asked) of both directions, counts."""
    found = both_ways(a, b, b_from_a, True)
    return np.sum([[x.agree * x.asked, x.violate * x.asked, x.asked] for x in found], 0)


def _pooled(said: list[np.ndarray], which: int) -> float:
    total = np.sum(said, 0) if said else np.zeros(3)
    return float(total[which] / total[2]) if total[2] >= LEAST_ASKED else float("nan")


def _moved(a: DenseView, b: DenseView, b_from_a: np.ndarray) -> float | None:
    """Metres by which a's surface moves when it is aligned with b's; None if it cannot be."""
    aligned = align_surfaces(a, b, b_from_a, True)
    if aligned is None:
        return None
    x = a.surface(True)[1]
    return float(np.linalg.norm(transform(aligned.b_from_a, x) - transform(b_from_a, x), axis=1).mean())


def _angle(a: np.ndarray, b: np.ndarray, centre: np.ndarray) -> float:
    """Between the directions from the object to two cameras, radians."""
    x, y = (p[:3, 3] - centre for p in (a, b))
    return float(np.arccos(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1, 1)))
