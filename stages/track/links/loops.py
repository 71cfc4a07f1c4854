"""Which loops to believe: those that agree with the chain of neighbours, and joins of unconnected parts that do not make the object leap.

A repeated pattern, or an object that looks the same from two sides, gives loops that points and surfaces bear out to the pixel, and that
agree with each other, though all are wrong. Only the course of time tells: a video does not leap. So a join of two parts is asked how far
the object would have turned between the frames next to the gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.geometry.rigid import inverse, rotation_angle, seen_apart
from stages.track.links.view_graph import Edge, connected, spanning_poses

CHAIN_ERROR_DEG = 6.0
"""a loop may differ from the chain of neighbours by this, in turn and in where the object is seen from the camera: chains drift by a tenth
of a degree a frame, mix-ups are off by tens"""
LEAP, LEAP_SLACK_DEG = 2.5, 10.0
"""across a gap the object may turn by the largest step between neighbours times the frames of the gap, times LEAP, and the slack"""
UNMISTAKABLE_SHARE, UNMISTAKABLE_INLIERS = 0.5, 40
"""a join that leaps is believed all the same (the object was turned over between two takes) when so large a share of the proposed
matches, and so many, agree: a repeated pattern proposes as many false ones (share 0.25 to 0.37, true views 0.6 to 1)"""


@dataclass(frozen=True)
class Jump:
    """A join that was not believed: between frames `before` and `after` the object would have turned by `turn_deg`, in a capture where it
    may have turned by `limit_deg`. `frames`: the part that it would have joined to a larger one."""

    before: int
    after: int
    turn_deg: float
    limit_deg: float
    frames: tuple[int, ...]

    @property
    def reason(self) -> str:
        """In plain words."""
        return (
            f"only views far apart in time tie it to the rest, and by them the object would have turned by {self.turn_deg:.0f} degrees "
            f"between frames {self.before} and {self.after} (at most {self.limit_deg:.0f} believed: it may look alike from several sides)"
        )


@dataclass(frozen=True)
class _Part:
    poses: Mapping[int, np.ndarray]
    root: int


def believed(
    frames: Sequence[int],
    chain: Sequence[Edge],
    loops: Sequence[Edge],
    joins: Sequence[Edge],
    seen_at: Mapping[int, np.ndarray],
) -> tuple[list[Edge], list[Jump]]:
    """The loops to use, and the joins that were refused because they leap.

    `frames` in the order of the capture; `chain` edges between neighbours; `loops` all edges between frames far apart; `joins` those of
    them that may tie parts together which no neighbours connect; `seen_at` {frame: (3,) the object's middle in its left camera}.
    """
    place = {f: i for i, f in enumerate(frames)}
    parts = [
        _Part(spanning_poses(p, [e for e in chain if e.a in p and e.b in p])[0], p[0])
        for p in map(sorted, connected(frames, chain))
    ]
    part_of = {f: p for p in parts for f in p.poses}
    step = max((np.degrees(rotation_angle(e.b_from_a)) / (place[e.b] - place[e.a]) for e in chain), default=180.0)
    out, jumps = [], {}
    allowed = {(e.a, e.b) for e in joins}
    for e in loops:
        a, b = part_of[e.a], part_of[e.b]
        if a is b:
            gap = inverse(e.b_from_a) @ inverse(a.poses[e.b]) @ a.poses[e.a]
            if seen_apart(gap, seen_at[e.a]) < np.radians(CHAIN_ERROR_DEG):
                out.append(e)
        elif (e.a, e.b) in allowed:
            jump = _leap(e, a, b, place, step)
            if jump is None or (e.inliers >= UNMISTAKABLE_INLIERS and e.inliers >= UNMISTAKABLE_SHARE * e.proposed):
                out.append(e)
            else:
                jumps[a.root, b.root] = jump
    return sorted(out, key=lambda e: (e.a, e.b)), list(jumps.values())


def _leap(e: Edge, a: _Part, b: _Part, place: Mapping[int, int], step_deg: float) -> Jump | None:
    """What the join would make the object do between the two frames of the parts that are nearest in time; None if it may."""
    f, g = min(((f, g) for f in a.poses for g in b.poses), key=lambda p: (abs(place[p[0]] - place[p[1]]), p))
    f_from_g = inverse(a.poses[f]) @ a.poses[e.a] @ inverse(e.b_from_a) @ inverse(b.poses[e.b]) @ b.poses[g]
    turn, limit = (
        float(np.degrees(rotation_angle(f_from_g))),
        LEAP * step_deg * abs(place[f] - place[g]) + LEAP_SLACK_DEG,
    )
    if turn <= limit:
        return None
    smaller = min((a, b), key=lambda p: len(p.poses))
    return Jump(min(f, g), max(f, g), turn, limit, tuple(sorted(smaller.poses)))
