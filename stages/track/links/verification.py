"""Is each pose borne out by frames that should see the same side? Their depth must meet, and what they show there must look the same.

Frames that bear each other out form parts. One wrong link can carry a whole part with it, whose frames all agree among themselves: so what
counts is whether a part is borne out by the largest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from stages.core.dense.look import FIRM_FLOATS, FIRM_MEETS, Verdict, judge
from stages.core.dense.view import DenseView
from stages.core.geometry.near_views import near_pairs
from stages.core.geometry.rigid import inverse, rotation_angle
from stages.core.groups import joined

NEAR_RAD, NEAR_FRAMES, LEAST_AGAINST = np.radians(30.0), 3, 2
"""partners of a frame: so many, with views that differ by less; and how many must speak against it"""
GRIP_LOOK = 0.6
"""correlation of the object and its hand together from which they bear a motion out"""
NEXT_RAD = np.radians(45.0)
"""frames next to each other are partners up to here"""


def contradicted(
    views: Mapping[int, DenseView],
    poses: Mapping[int, np.ndarray],
    centre: np.ndarray,
    object_only: bool,
    held: Mapping[int, DenseView] | None = None,
) -> dict[int, str]:
    """{frame: why} of the poses that frames with a similar view contradict: those that none bears out, and whole parts of the capture that
    agree among themselves, but not with the largest part. `held`: the views with what holds the object fast, None = nothing does."""
    beside = {p for p in pairwise(sorted(poses)) if rotation_angle(inverse(poses[p[1]]) @ poses[p[0]]) < NEXT_RAD}
    said = {}
    for a, b in sorted(beside | set(near_pairs(poses, centre, NEAR_RAD, NEAR_FRAMES))):
        b_from_a = inverse(poses[b]) @ poses[a]
        verdict = _of_scene_and_object(views[a], views[b], b_from_a, object_only)
        said[a, b] = verdict if held is None else with_grip(verdict, judge(held[a], held[b], b_from_a, True))
    return _apart(poses, said) | _alone(poses, said)


def _alone(frames: Iterable[int], said: Mapping[tuple[int, int], Verdict]) -> dict[int, str]:
    """Single frames that several others contradict, and none bears out."""
    answers_of: dict[int, list[tuple[int, Verdict]]] = {f: [] for f in frames}
    for (a, b), verdict in said.items():
        answers_of[a].append((b, verdict))
        answers_of[b].append((a, verdict))
    out = {}
    for frame, answers in answers_of.items():
        against = [other for other, v in answers if v.other]
        if len(against) >= LEAST_AGAINST and not any(v.same for _, v in answers):
            out[frame] = _contradicts(against)
    return out


def _apart(frames: Iterable[int], said: Mapping[tuple[int, int], Verdict]) -> dict[int, str]:
    """Frames of the parts that the largest part does not bear out, though both should see the same."""
    parts = joined(frames, [pair for pair, v in said.items() if v.firm or v.silent])
    part_of = {f: k for k, part in enumerate(parts) for f in part}
    met: dict[int, set[int]] = {}  # by part: the frames of the largest that should see the same
    judged: set[int] = set()
    for pair, verdict in said.items():
        inner, outer = sorted(pair, key=lambda f: part_of[f])
        if part_of[inner] == 0 < part_of[outer]:
            met.setdefault(part_of[outer], set()).add(inner)
            judged |= {part_of[outer]} if verdict.judged else set()
    return {f: _contradicts(sorted(met[k])) for k in sorted(judged) for f in parts[k]}


def _contradicts(frames: Sequence[int]) -> str:
    return (
        f"its picture and depth contradict frames {', '.join(map(str, frames))}, which its pose says see the same side"
    )


def _of_scene_and_object(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> Verdict:
    """A still scene that repeats may look right though its object is torn from its place: then the object's word counts."""
    verdict = judge(a, b, b_from_a, object_only)
    if object_only:
        return verdict
    of_object = judge(a, b, b_from_a, True)
    return of_object if of_object.other or (of_object.firm and not verdict.firm) else verdict


def with_grip(own: Verdict, held: Verdict) -> Verdict:
    """The object's own verdict, and what the hand round it adds where little of the object shows in both: how they look together."""
    if own.other or own.floats > FIRM_FLOATS or not held.correlation >= GRIP_LOOK:
        return own
    return replace(
        own, correlation=held.correlation, meets=max(own.meets, FIRM_MEETS), asked=max(own.asked, held.asked)
    )
