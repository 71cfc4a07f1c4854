"""Where the object of the second session lies in the first: one rigid motion that the spots of all pairs of frames vote for.

Each pair of frames is matched alone (its spots differ from each other, those of the whole object do not: every spot is seen many times).
Three matches of a pair propose a motion when their distances agree; every match of every pair votes on it. Votes are counted by places
on the object, so that one spot seen in many frames counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import fit_rigid, inverse, rotation_angle, transform
from stages.core.parallel import ordered_map
from stages.merge.object_points import ROOT_ONE, FrameSpots

PAIRS_ASKED, TRIALS = 80, 400
"""pairs of frames, those with most matches, that propose motions, and how often each does"""
LEAST_SIDE = 0.12
"""share of the object's size that a triangle of matches must span to propose a motion"""
DISPARITY_ERROR_PX = 0.3
TOLERANCE = (0.004, 0.03)
"""least and most of the object's size by which the places of one spot may differ"""
PLACE = 2.0
"""tolerances to the side of the cells in which votes are counted"""
OTHER_TURN, OTHER_SHIFT = np.radians(20), 0.15
"""a motion is another one when it turns by so much more, or shifts the object by so much of its size"""
LOOK = 0.8 * ROOT_ONE
"""largest distance of two descriptors at a place where both should be"""


@dataclass(frozen=True)
class Matches:
    """Match m: spot `i[m]` of frame number `a[m]` of the first session, spot `j[m]` of frame number `b[m]` of the second; their places in
    each session's object frame."""

    a: np.ndarray
    i: np.ndarray
    b: np.ndarray
    j: np.ndarray
    x_first: np.ndarray
    x_second: np.ndarray


@dataclass(frozen=True)
class Registration:
    """first_from_second (4, 4), the places that vote for it, those that vote for the best other motion, and what a place may be off."""

    first_from_second: np.ndarray
    spots: int
    rival: int
    matches: int
    tolerance_m: float


def tolerance_of(rig: Rig, spots: Sequence[FrameSpots], size_m: float) -> float:
    """By how much the places of one spot may differ, metres: what depth is good for."""
    disparity = np.concatenate([s.uvr[:, 0] - s.uvr[:, 2] for s in spots]) if spots else np.zeros(0)
    if len(disparity) == 0:
        return TOLERANCE[1] * size_m
    z = rig.depth_from_disparity(float(np.median(disparity)))
    error = DISPARITY_ERROR_PX * z**2 / (rig.fx * rig.baseline_m)
    return float(np.clip(3 * error, TOLERANCE[0] * size_m, TOLERANCE[1] * size_m))


def match_all(first: Sequence[FrameSpots], second: Sequence[FrameSpots], ratio: float, workers: int) -> Matches:
    """Mutual nearest descriptors of every pair of frames, the second best farther by `ratio`."""
    pairs = [(a, b) for a in range(len(first)) for b in range(len(second))]
    found = ordered_map(lambda p: _mutual(first[p[0]].descriptor, second[p[1]].descriptor, ratio), pairs, workers)
    return _gathered(first, second, pairs, list(found))


def match_near(
    first: Sequence[FrameSpots],
    second: Sequence[FrameSpots],
    first_from_second: np.ndarray,
    tolerance_m: float,
    workers: int,
) -> Matches:
    """The same with the motion known: nearest descriptors among the spots that lie where they should."""
    pairs = [(a, b) for a in range(len(first)) for b in range(len(second))]
    found = ordered_map(lambda p: _near(first[p[0]], second[p[1]], first_from_second, tolerance_m), pairs, workers)
    return _gathered(first, second, pairs, list(found))


def register(matches: Matches, size_m: float, tolerance_m: float, seed: int) -> Registration | None:
    """The motion that most places vote for; None where no three matches agree."""
    rng = np.random.default_rng(seed)
    proposed = _proposals(matches, size_m, tolerance_m, rng)
    if not proposed:
        return None
    votes = np.array([_votes(matches, m, tolerance_m).sum() for m in proposed])
    best = [_refined(matches, proposed[k], tolerance_m) for k in np.argsort(-votes, kind="stable")[:60]]
    scores = [_places(matches, m, tolerance_m) for m in best]
    top = int(np.argmax(scores))
    centre = np.median(matches.x_second, 0)
    rivals = [s for m, s in zip(best, scores, strict=True) if _differ(m, best[top], centre, size_m)]
    rivals += _best_other(matches, proposed, votes, best[top], about=(centre, size_m, tolerance_m))
    count = int(_votes(matches, best[top], tolerance_m).sum())
    return Registration(best[top], scores[top], max(rivals, default=0), count, tolerance_m=tolerance_m)


def _best_other(
    matches: Matches, proposed: list[np.ndarray], votes: np.ndarray, best: np.ndarray, about: tuple
) -> list[int]:
    """Places of the other motions with most votes."""
    centre, size_m, tolerance_m = about
    others = [k for k in np.argsort(-votes, kind="stable") if _differ(proposed[k], best, centre, size_m)][:20]
    refined = [_refined(matches, proposed[k], tolerance_m) for k in others]
    return [_places(matches, m, tolerance_m) for m in refined if _differ(m, best, centre, size_m)]


def _differ(m: np.ndarray, other: np.ndarray, centre: np.ndarray, size_m: float) -> bool:
    shift = np.linalg.norm(transform(m, centre) - transform(other, centre))
    return bool(rotation_angle(inverse(m) @ other) > OTHER_TURN or shift > OTHER_SHIFT * size_m)


def _proposals(matches: Matches, size_m: float, tolerance_m: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Motions of three matches of one pair of frames whose distances agree."""
    _, pair, count = np.unique(np.stack([matches.a, matches.b]), axis=1, return_inverse=True, return_counts=True)
    order = np.argsort(pair.ravel(), kind="stable")
    starts = np.concatenate([[0], np.cumsum(count)])
    out = []
    for p in np.argsort(-count, kind="stable")[:PAIRS_ASKED]:
        if count[p] < 4:
            break
        rows = order[starts[p] : starts[p + 1]]
        three = rows[np.argsort(rng.random((TRIALS, len(rows))), axis=1)[:, :3]]
        sides = [
            np.linalg.norm(x[three] - x[np.roll(three, 1, 1)], axis=2) for x in (matches.x_first, matches.x_second)
        ]
        fits = (np.abs(sides[0] - sides[1]) < tolerance_m).all(1) & (np.sort(sides[0], 1)[:, 1] > LEAST_SIDE * size_m)
        fits &= np.sort(sides[0], 1)[:, 0] > 0.5 * LEAST_SIDE * size_m
        out += [fit_rigid(matches.x_second[t], matches.x_first[t]) for t in three[fits]]
    return out


def _votes(matches: Matches, motion: np.ndarray, tolerance_m: float) -> np.ndarray:
    return np.linalg.norm(transform(motion, matches.x_second) - matches.x_first, axis=1) < tolerance_m


def _places(matches: Matches, motion: np.ndarray, tolerance_m: float) -> int:
    """How many places of the object vote."""
    x = matches.x_first[_votes(matches, motion, tolerance_m)]
    return len(np.unique(np.floor(x / (PLACE * tolerance_m)).astype(int), axis=0))


def _refined(matches: Matches, motion: np.ndarray, tolerance_m: float) -> np.ndarray:
    for reach in (2.0, 1.5, 1.0, 1.0, 1.0):
        gap = np.linalg.norm(transform(motion, matches.x_second) - matches.x_first, axis=1)
        use = gap < reach * tolerance_m
        if use.sum() < 3:
            return motion
        weight = 1 / (1 + (2 * gap[use] / tolerance_m) ** 2)
        motion = fit_rigid(matches.x_second[use], matches.x_first[use], weight)
    return motion


def _mutual(a: np.ndarray, b: np.ndarray, ratio: float) -> np.ndarray:
    """(M, 2) of each other's nearest."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), int)
    d = _distances(a, b)
    two = np.sqrt(np.maximum(np.partition(d, 1, axis=1)[:, :2], 0))
    there, back = d.argmin(1), d.argmin(0)
    rows = np.flatnonzero((back[there] == np.arange(len(a))) & (two[:, 0] < ratio * two[:, 1]))
    return np.column_stack([rows, there[rows]])


def _near(a: FrameSpots, b: FrameSpots, first_from_second: np.ndarray, tolerance_m: float) -> np.ndarray:
    if len(a.xyz) == 0 or len(b.xyz) == 0:
        return np.zeros((0, 2), int)
    moved = transform(first_from_second, b.xyz)
    apart = np.linalg.norm(a.xyz[:, None] - moved[None], axis=2)
    d = np.where(apart < tolerance_m, _distances(a.descriptor, b.descriptor), np.inf)
    there, back = d.argmin(1), d.argmin(0)
    rows = np.flatnonzero((back[there] == np.arange(len(there))) & (d.min(1) < LOOK**2))
    return np.column_stack([rows, there[rows]])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared, (N, M)."""
    return (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T


def _gathered(
    first: Sequence[FrameSpots], second: Sequence[FrameSpots], pairs: list, found: list[np.ndarray]
) -> Matches:
    a, b = (np.repeat([p[k] for p in pairs], [len(m) for m in found]).astype(int) for k in (0, 1))
    ij = np.concatenate(found) if found else np.zeros((0, 2), int)

    def places(spots, f, k):
        return np.array([spots[x].xyz[y] for x, y in zip(f, k, strict=True)]).reshape(-1, 3)

    return Matches(a, ij[:, 0], b, ij[:, 1], x_first=places(first, a, ij[:, 0]), x_second=places(second, b, ij[:, 1]))
