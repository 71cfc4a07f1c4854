"""How a pattern of marks was turned and shifted between frames, and the pattern of all frames together.

Two marks of one frame and two of another as far apart propose a motion in the plane; all marks vote. No mark has to look like itself: only
the pattern counts. So a pattern that looks alike from two sides must be told from one that does not (`rival`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.groups import joined

OTHER_RAD = np.radians(8)
"""turns that differ by more are two"""
LEAST_APART = 6.0
"""tolerances that two marks must lie apart to propose a turn"""
ROUNDS = 12


@dataclass(frozen=True)
class Turn:
    """b_from_a (3, 3) in the plane; `pairs` (M, 2) marks of a and b that agree; `rival`: marks for the best turn that is another one."""

    a: int
    b: int
    b_from_a: np.ndarray
    pairs: np.ndarray
    rival: int

    @property
    def angle(self) -> float:
        """Radians."""
        return float(np.arctan2(self.b_from_a[1, 0], self.b_from_a[0, 0]))


def find_turn(a: int, b: int, marks_a: np.ndarray, marks_b: np.ndarray, tolerance_m: float) -> Turn | None:
    """The motion that most marks (M, 2) and (N, 2) agree on; None where no two pairs of marks fit."""
    proposed = _proposals(marks_a, marks_b, tolerance_m)
    if len(proposed) == 0:
        return None
    moved = np.einsum("pij,mj->pmi", proposed[:, :2, :2], marks_a) + proposed[:, None, :2, 2]
    gap = np.linalg.norm(moved[:, :, None] - marks_b[None, None], axis=3)
    votes = (gap.min(2) < tolerance_m).sum(1)
    best = int(np.argmax(votes))
    angles = np.arctan2(proposed[:, 1, 0], proposed[:, 0, 0])
    other = np.abs(np.angle(np.exp(1j * (angles - angles[best])))) > OTHER_RAD
    motion, pairs = _refined(proposed[best], marks_a, marks_b, tolerance_m)
    return Turn(a, b, motion, pairs, rival=int(votes[other].max(initial=0)))


def pattern_of(
    turns: Sequence[Turn], marks: Mapping[int, np.ndarray], tolerance_m: float
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """({frame: pattern_from_frame (3, 3)}, {frame: (M,) metres by which each mark misses the pattern, NaN = not of it}) of the largest part
    that the turns join. Places of the pattern and all frames are fitted to each other in turn (generalised Procrustes)."""
    poses = _spanned(turns)
    nodes = [(f, k) for f in poses for k in range(len(marks[f]))]
    number = {n: i for i, n in enumerate(nodes)}
    ties = [
        (number[t.a, int(i)], number[t.b, int(j)]) for t in turns if t.a in poses and t.b in poses for i, j in t.pairs
    ]
    groups = [[nodes[i] for i in g] for g in joined(range(len(nodes)), ties)]
    groups = [g for g in groups if len({f for f, _ in g}) == len(g) > 1]  # a mark is once in a frame
    for _ in range(ROUNDS):
        places = np.array([np.median([_at(poses[f], marks[f][k]) for f, k in g], 0) for g in groups]).reshape(-1, 2)
        for f in list(poses)[1:]:
            own = [(i, k) for i, g in enumerate(groups) for h, k in g if h == f]
            if len(own) >= 3:
                poses[f] = fit_plane_motion(marks[f][[k for _, k in own]], places[[i for i, _ in own]])
    missed = {f: np.full(len(marks[f]), np.nan) for f in poses}
    for place, g in zip(places, groups, strict=True):
        for f, k in g:
            missed[f][k] = np.linalg.norm(_at(poses[f], marks[f][k]) - place)
    return poses, missed


def fit_plane_motion(x_a: np.ndarray, x_b: np.ndarray) -> np.ndarray:
    """b_from_a (3, 3), a turn and a shift, with the least squared distances of (N, 2) points."""
    ca, cb = x_a.mean(0), x_b.mean(0)
    a, b = x_a - ca, x_b - cb
    angle = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    return _motion(np.array([angle]), ca[None], cb[None])[0]


def _proposals(a: np.ndarray, b: np.ndarray, tolerance_m: float) -> np.ndarray:
    """(P, 3, 3) of every two marks that are as far apart in both frames."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 3, 3))
    i, j = np.triu_indices(len(a), 1)
    p, q = np.nonzero(~np.eye(len(b), dtype=bool))
    u, v = a[j] - a[i], b[q] - b[p]
    length_a, length_b = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    fit = (np.abs(length_a[:, None] - length_b[None]) < tolerance_m) & (length_a > LEAST_APART * tolerance_m)[:, None]
    r, s = np.nonzero(fit)
    angle = np.arctan2(v[s, 1], v[s, 0]) - np.arctan2(u[r, 1], u[r, 0])
    return _motion(angle, (a[i] + a[j])[r] / 2, (b[p] + b[q])[s] / 2)


def _motion(angle: np.ndarray, middle_a: np.ndarray, middle_b: np.ndarray) -> np.ndarray:
    out = np.tile(np.eye(3), (len(angle), 1, 1))
    c, s = np.cos(angle), np.sin(angle)
    out[:, 0, 0], out[:, 0, 1], out[:, 1, 0], out[:, 1, 1] = c, -s, s, c
    out[:, :2, 2] = middle_b - np.einsum("pij,pj->pi", out[:, :2, :2], middle_a)
    return out


def _refined(motion: np.ndarray, a: np.ndarray, b: np.ndarray, tolerance_m: float) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.zeros((0, 2), int)
    for _ in range(5):
        gap = np.linalg.norm(_at(motion, a)[:, None] - b[None], axis=2)
        there, back = gap.argmin(1), gap.argmin(0)
        rows = np.flatnonzero((back[there] == np.arange(len(a))) & (gap.min(1) < tolerance_m))
        pairs = np.column_stack([rows, there[rows]])
        if len(rows) < 2:
            break
        motion = fit_plane_motion(a[rows], b[there[rows]])
    return motion, pairs


def _spanned(turns: Sequence[Turn]) -> dict[int, np.ndarray]:
    """{frame: pattern_from_frame} of the largest joined part, from the turns with most marks."""
    part = joined({f for t in turns for f in (t.a, t.b)}, [(t.a, t.b) for t in turns])
    if not part:
        return {}
    poses = {part[0][0]: np.eye(3)}
    ordered = sorted(turns, key=lambda t: (-len(t.pairs), t.a, t.b))
    while len(poses) < len(part[0]):
        turn = next(t for t in ordered if t.a in part[0] and (t.a in poses) != (t.b in poses))
        if turn.a in poses:
            poses[turn.b] = poses[turn.a] @ np.linalg.inv(turn.b_from_a)
        else:
            poses[turn.a] = poses[turn.b] @ turn.b_from_a
    return poses


def _at(motion: np.ndarray, x: np.ndarray) -> np.ndarray:
    return x @ motion[:2, :2].T + motion[:2, 2]
