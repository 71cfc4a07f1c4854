"""Points of the object that both sessions saw: what ties their poses together in the bundle adjustment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.core.geometry.rigid import inverse, transform
from stages.core.groups import joined
from stages.merge.object_points import FrameSpots
from stages.merge.registration import Matches, Registration
from stages.merge.session import Session, Tracks

SPOT_SIGMA_PX = 0.5
"""how well SIFT finds one spot again in another light, from another side"""
MEET_PX = 3.0
"""by how much it may seem to be missed before both sessions are adjusted together"""


def spot_tracks(
    matches: Matches,
    registration: Registration,
    sessions: tuple[Session, Session],
    spots: tuple[Sequence[FrameSpots], Sequence[FrameSpots]],
    offset: int,
    ratio: float,
) -> Tracks:
    """Matches of all pairs of frames joined into points with observations in both sessions; frames of the second come `offset` later and
    its disparities are multiplied by `ratio`."""
    fits = _meet(matches, registration.first_from_second, sessions, spots)
    ends = [
        ((0, int(a), int(i)), (1, int(b), int(j)))
        for a, i, b, j, good in zip(matches.a, matches.i, matches.b, matches.j, fits, strict=True)
        if good
    ]
    nodes = sorted({n for pair in ends for n in pair})
    number = {n: k for k, n in enumerate(nodes)}
    rows, xyz = [], []
    for group in joined(range(len(nodes)), [(number[p], number[q]) for p, q in ends]):
        members = _one_a_frame([nodes[k] for k in group])
        if {s for s, _, _ in members} != {0, 1}:
            continue
        for s, f, k in members:
            seen = spots[s][f]
            rows.append(
                (
                    len(xyz),
                    seen.frame + s * offset,
                    *_at(seen.uvr[k], ratio if s else 1.0),
                    SPOT_SIGMA_PX * seen.sigma_px,
                )
            )
        xyz.append(np.mean([_place(spots[s][f].xyz[k], s, registration) for s, f, k in members], 0))
    table = np.array(rows, float).reshape(-1, 6)
    count = len(xyz)
    return Tracks(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2:5],
        table[:, 5],
        xyz=np.array(xyz).reshape(-1, 3),
        inside=np.ones(count, bool),
        aside=np.zeros(count, bool),
    )


def _meet(
    matches: Matches,
    first_from_second: np.ndarray,
    sessions: tuple[Session, Session],
    spots: tuple[Sequence[FrameSpots], Sequence[FrameSpots]],
) -> np.ndarray:
    """(M,) bool: each spot, laid into the other's picture, falls where the other is: depth blurs places along the line of sight only."""
    both = (
        (matches.a, matches.i, transform(first_from_second, matches.x_second)),
        (matches.b, matches.j, transform(inverse(first_from_second), matches.x_first)),
    )
    apart = np.zeros((2, len(matches.a)))
    for k, (frame, spot, x) in enumerate(both):
        for m in range(len(frame)):
            own = spots[k][frame[m]]
            seen = sessions[k].rig.project(transform(inverse(sessions[k].poses[own.frame]), x[m]))
            apart[k, m] = np.linalg.norm(seen - own.uvr[spot[m], :2]) / own.sigma_px
    return np.maximum(*apart) < MEET_PX


def moved_tracks(session: Session, first_from_second: np.ndarray, offset: int, ratio: float) -> Tracks:
    """The second session's tracks among the first's frames, in its object frame. What stood round the object then, stands nowhere now: it
    only steadies the poses."""
    t = session.tracks
    uvr = t.uvr.copy()
    uvr[:, 2] = t.uvr[:, 0] - ratio * (t.uvr[:, 0] - t.uvr[:, 2])
    return Tracks(
        t.point,
        t.frame + offset,
        uvr,
        t.sigma_px,
        xyz=transform(first_from_second, t.xyz),
        inside=t.inside,
        aside=t.aside | ~t.inside,
    )


def joined_tracks(parts: Sequence[Tracks]) -> Tracks:
    """One after the other, points numbered on."""
    starts = np.cumsum([0, *(len(p.xyz) for p in parts)])
    point = np.concatenate([p.point + s for p, s in zip(parts, starts[:-1], strict=True)])
    rest = (
        np.concatenate([getattr(p, n) for p in parts]) for n in ("frame", "uvr", "sigma_px", "xyz", "inside", "aside")
    )
    return Tracks(point, *rest)


def _one_a_frame(nodes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The first spot of each frame: one point is not in two places of a picture."""
    return list({(s, f): (s, f, k) for s, f, k in reversed(nodes)}.values())


def _at(uvr: np.ndarray, ratio: float) -> tuple[float, float, float]:
    return float(uvr[0]), float(uvr[1]), float(uvr[0] - ratio * (uvr[0] - uvr[2]))


def _place(xyz: np.ndarray, which: int, registration: Registration) -> np.ndarray:
    return transform(registration.first_from_second, xyz) if which else xyz
