"""Is each pose borne out by frames that should see the same side? Their depth must meet, and what they show there must look the same.

Frames that bear each other out form parts. One wrong link can carry a whole part with it, whose frames all agree among themselves: so what
counts is whether a part is borne out by the largest one.

Surfaces meet for many false motions (a box turned by half a turn); its print does not. The grey values of the places where two depths
meet are compared after their slow part (light and shade) is taken off. On rendered captures with steps of 15 to 22 degrees the
correlation of neighbours is 0.9 at the true pose, 0.5 to 0.8 at 3 degrees beside it, 0.2 to 0.5 at 6 degrees, and below 0.2 farther off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.track.dense_view import DenseView, agreement
from stages.track.view_graph import joined, near_pairs

SAME, OTHER = 0.5, 0.35
"""correlation from which two frames show the same, and below which they do not"""
LEAST_MET = 150
"""places of the small picture that must meet before their look is judged"""
LEAST_CONTRAST = 4.0
"""standard deviation of the detail, grey levels: less is noise"""
DETAIL_PX, NOISE_PX = 6.0, 1.0
"""detail is what lies between these blurs, px of the small picture"""
NEAR_RAD, NEAR_FRAMES, LEAST_AGAINST = np.radians(30.0), 3, 2
"""partners of a frame: so many, with views that differ by less; and how many must speak against it"""
NEXT_RAD = np.radians(45.0)
"""frames next to each other are partners up to here"""
FLOATS, MEETS = 0.2, 0.4
"""where the look cannot tell: surfaces contradict when more than FLOATS floats and less than MEETS meets"""
FIRM, FIRM_FLOATS, FIRM_MEETS = 0.55, 0.12, 0.5
"""two frames bear each other out when their look goes together so well, so little floats and so much meets. On random captures true
neighbours are at 0.78 to 0.95, 0.00 to 0.02 and 0.78 to 1.0; those 7 to 21 mm off at 0.19 to 0.51, 0.02 to 0.46 and 0.41 to 0.9"""
SURE, SURE_FLOATS = 0.75, 0.3
"""with such a look so much may float: one of the masks has lost a part (dino_ring: 0.82 to 0.98 with 0.13 to 0.17)"""


@dataclass(frozen=True)
class Verdict:
    """What two frames say to the motion between them: `same` and `other` are False both where nothing can be told. `correlation` of their
    detail, NaN = not judged; then the smaller share that meets and the larger that floats, of both directions, out of `asked` points."""

    correlation: float
    meets: float = 1.0
    floats: float = 0.0
    asked: int = 0

    @property
    def judged(self) -> bool:
        """Both the look and enough of the surfaces could be compared."""
        return bool(np.isfinite(self.correlation)) and self.asked >= LEAST_MET

    @property
    def silent(self) -> bool:
        """Nothing speaks for or against the motion: two bare surfaces, or hardly any in common."""
        return not self.judged and not self.other

    @property
    def same(self) -> bool:
        """They show the same."""
        return self.correlation >= SAME

    @property
    def firm(self) -> bool:
        """They show the same in every respect."""
        alike = (self.correlation >= FIRM and self.floats <= FIRM_FLOATS) or (self.correlation >= SURE and self.floats <= SURE_FLOATS)
        return self.judged and alike and self.meets >= FIRM_MEETS

    @property
    def other(self) -> bool:
        """They contradict each other."""
        if np.isfinite(self.correlation):
            return self.correlation < OTHER
        return self.asked >= LEAST_MET and self.floats > FLOATS and self.meets < MEETS


def judge(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> Verdict:
    """Two frames and the motion claimed between them."""
    look = _correlation(a, b, b_from_a, object_only)
    there, back = agreement(a, b, b_from_a, object_only), agreement(b, a, inverse(b_from_a), object_only)
    return Verdict(look, min(there.agree, back.agree), max(there.violate, back.violate), min(there.asked, back.asked))


def contradicted(views: Mapping[int, DenseView], poses: Mapping[int, np.ndarray], centre: np.ndarray, object_only: bool) -> dict[int, str]:
    """{frame: why} of the poses that frames with a similar view contradict: those that none bears out, and whole parts of the capture that
    agree among themselves, but not with the largest part."""
    beside = {p for p in pairwise(sorted(poses)) if rotation_angle(inverse(poses[p[1]]) @ poses[p[0]]) < NEXT_RAD}
    said = {
        (a, b): _of_scene_and_object(views[a], views[b], inverse(poses[b]) @ poses[a], object_only)
        for a, b in sorted(beside | set(near_pairs(poses, centre, NEAR_RAD, NEAR_FRAMES)))
    }
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
    met: dict[int, set[int]] = {}               # by part: the frames of the largest that should see the same
    judged: set[int] = set()
    for pair, verdict in said.items():
        inner, outer = sorted(pair, key=lambda f: part_of[f])
        if part_of[inner] == 0 < part_of[outer]:
            met.setdefault(part_of[outer], set()).add(inner)
            judged |= {part_of[outer]} if verdict.judged else set()
    return {f: _contradicts(sorted(met[k])) for k in sorted(judged) for f in parts[k]}


def _contradicts(frames: Sequence[int]) -> str:
    return f"its picture and depth contradict frames {', '.join(map(str, frames))}, which its pose says see the same side"


def _of_scene_and_object(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> Verdict:
    """A still scene that repeats may look right though its object is torn from its place: then the object's word counts."""
    verdict = judge(a, b, b_from_a, object_only)
    if object_only:
        return verdict
    of_object = judge(a, b, b_from_a, True)
    return of_object if of_object.other or (of_object.firm and not verdict.firm) else verdict


def detail(view: DenseView, object_only: bool) -> np.ndarray:
    """(h, w) float32 grey levels without light and shade; with `object_only` nothing of the background leaks in."""
    gray = view.gray.astype(np.float32)
    weight = view.mask.astype(np.float32) if object_only else np.ones_like(gray)
    slow, fast = (_mean_within(gray, weight, s) for s in (DETAIL_PX, NOISE_PX))
    return fast - slow


def _mean_within(gray: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(gray * weight, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)


def _correlation(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> float:
    """Of the detail at the places of a that b's depth meets; NaN where too few do, or one of them is bare."""
    pixel_a, x = a.surface(object_only)
    landed = b.land(transform(b_from_a, x))
    on = landed.on & b.mask[landed.at] if object_only else landed.on
    if on.sum() < LEAST_MET:
        return float("nan")
    u, v = pixel_a[landed.seen[on]].T
    of_a, of_b = detail(a, object_only)[v, u], detail(b, object_only)[landed.at[0][on], landed.at[1][on]]
    if min(of_a.std(), of_b.std()) < LEAST_CONTRAST:
        return float("nan")
    return float(np.corrcoef(of_a, of_b)[0, 1])
