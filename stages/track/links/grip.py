"""What holds the object moves with it: a hand that does not slip, a clamp, the print of a turntable.

Its points then tell the object's motion as well as the object's own, and they do so where the object is bare, turns its edge to the
camera or hides behind the fingers. Whether it holds fast is asked of the pictures: over pairs of frames one motion has to explain points
on the object and points beside it. One pair in which each of both moves in its own way is enough to say no.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import transform
from stages.core.geometry.stereo_points import project_stereo
from stages.core.parallel import ordered_map
from stages.track.links.descriptor_matching import match_guided
from stages.track.links.scope import MIN_FLOW, median_flow
from stages.track.links.stereo_pose import agreeing, estimate_motion
from stages.track.links.view_graph import PairOptions, neighbour_pairs
from stages.track.points.frame_points import FramePoints, object_middle

REACH = 2.0
"""times the object's radius: so far from its middle what holds it is looked for"""
LEAST_OWN = 4
"""points of the object that tell where it is"""
AGREEING, OWN_SHARE, NEAR_SHARE = 4, 0.35, 0.2
"""matches on the object and beside it that one motion has to explain, and the shares of those proposed"""
APART, APART_SHARE = 10, 0.5
"""matches of either that move as one, and of which the other's motion explains less than this share"""
LEAST_PAIRS, PAIRS_AGAINST = 3, 0.1
"""pairs of frames that have to bear the grip out, and the share of contradicting ones that is let pass"""
GAPS = (1, 3)
"""places between the frames of a pair: what slips slowly shows after a while"""
STILL_PX, STILL_RATIO = 1.5, 0.9
"""a point beside the object that the next frame shows at the same place, so near and so much like it, is the background's"""


@dataclass(frozen=True)
class Grip:
    """points: of all frames, those of what holds the object `inside` and `gripped` too, if it holds fast; together, apart: pairs of frames
    for and against it."""

    points: Mapping[int, FramePoints]
    together: int
    apart: int

    @property
    def holds(self) -> bool:
        """Whether enough speaks for it."""
        return self.together >= LEAST_PAIRS and self.apart <= PAIRS_AGAINST * self.together


def with_grip(
    rig: Rig, points: Mapping[int, FramePoints], options: PairOptions, max_distance: float, workers: int
) -> Grip:
    """Asks pairs of frames; `max_distance` of descriptors that may be the same."""
    frames = [f for f, p in points.items() if not p.mask_lost]
    beside = {f: _beside(rig, points[f]) for f in frames}
    still = {f: np.zeros(len(points[f]), bool) for f in frames}
    for a, b in pairwise(frames):
        for here, there in ((a, b), (b, a)):
            still[here] |= _stays(points[here], points[there], beside[here], max_distance)
    moving = {f: beside[f] & ~still[f] for f in frames}

    def ask(pair: tuple[int, int]) -> str:
        a, b = pair
        return _ask(rig, (points[a], moving[a]), (points[b], moving[b]), options)

    answers = list(ordered_map(ask, neighbour_pairs(frames, GAPS), workers))
    grip = Grip(points, answers.count("together"), answers.count("apart"))
    if not grip.holds:
        return grip
    held = {f: replace(points[f], inside=points[f].inside | moving[f], gripped=moving[f]) for f in frames}
    return replace(grip, points={**points, **held})


@dataclass(frozen=True)
class Reach:
    """Where the object is in a frame: its middle (3,) in the left camera and its radius, metres."""

    middle: np.ndarray
    radius_m: float


def reach_of(rig: Rig, points: FramePoints) -> Reach | None:
    """By the object's own points; None with too few of them."""
    x = points.xyz(rig)
    own = points.own & np.isfinite(x).all(1)
    if own.sum() < LEAST_OWN:
        return None
    middle = object_middle(rig, points)
    return Reach(middle, float(np.percentile(np.linalg.norm(x[own] - middle, axis=1), 90)))


def _beside(rig: Rig, points: FramePoints) -> np.ndarray:
    """(N,) bool: points off the object, within reach of its middle."""
    reach = reach_of(rig, points)
    if reach is None:
        return np.zeros(len(points), bool)
    far = np.linalg.norm(points.xyz(rig) - reach.middle, axis=1)
    with np.errstate(invalid="ignore"):
        return ~points.inside & (far < REACH * reach.radius_m)


def _stays(a: FramePoints, b: FramePoints, which: np.ndarray, max_distance: float) -> np.ndarray:
    """(N,) bool: points of a that b shows at the same place."""
    out, some = np.zeros(len(a), bool), np.flatnonzero(which)
    other = np.flatnonzero(~b.inside)
    if len(some) and len(other):
        found = match_guided(
            a.uv[some], a.descriptor[some], b.uv[other], b.descriptor[other], STILL_PX, STILL_RATIO, max_distance
        )
        out[some[found[:, 0]]] = True
    return out


@dataclass(frozen=True)
class _Matches:
    """xyz (M, 3) metres in frame a and uvr (M, 3) px in frame b."""

    xyz: np.ndarray
    uvr: np.ndarray

    @staticmethod
    def of(
        rig: Rig, a: FramePoints, in_a: np.ndarray, b: FramePoints, in_b: np.ndarray, options: PairOptions
    ) -> _Matches:
        ia, ib = options.matcher(a, b, np.flatnonzero(in_a & np.isfinite(a.u_right)), np.flatnonzero(in_b)).T
        return _Matches(a.xyz(rig)[ia], b.uvr[ib])

    def motion(self, rig: Rig, options: PairOptions, least: int) -> np.ndarray | None:
        """b_from_a that most agree on."""
        found = estimate_motion(rig, self.xyz, self.uvr, options.max_error_px, least, options.seed)
        return None if found is None else found.b_from_a

    def agree(self, rig: Rig, b_from_a: np.ndarray, options: PairOptions) -> np.ndarray:
        """(M,) bool: those that a motion explains."""
        if not len(self.xyz):
            return np.zeros(0, bool)
        residual = project_stereo(rig, transform(b_from_a, self.xyz)) - self.uvr
        return agreeing(residual, options.max_error_px)


def _ask(rig: Rig, a: tuple[FramePoints, np.ndarray], b: tuple[FramePoints, np.ndarray], options: PairOptions) -> str:
    """ "together", "apart" or "" (they do not tell) of two frames with their points beside the object (N,) bool."""
    own = _Matches.of(rig, a[0], a[0].inside, b[0], b[0].inside, options)
    near = _Matches.of(rig, a[0], a[1], b[0], b[1], options)
    if len(own.xyz) < AGREEING or len(near.xyz) < AGREEING:
        return ""
    if _each_its_own(rig, own, near, options):
        return "apart"
    both = _Matches(np.concatenate([own.xyz, near.xyz]), np.concatenate([own.uvr, near.uvr]))
    motion = both.motion(rig, options, options.min_inliers)
    if motion is None or median_flow(rig, motion, both.xyz) < MIN_FLOW * rig.width:
        return ""
    of_own, of_near = (m.agree(rig, motion, options) for m in (own, near))
    enough = min(of_own.sum(), of_near.sum()) >= AGREEING
    return "together" if enough and of_own.mean() >= OWN_SHARE and of_near.mean() >= NEAR_SHARE else ""


def _each_its_own(rig: Rig, own: _Matches, near: _Matches, options: PairOptions) -> bool:
    """Whether both move as one body each, and neither as the other."""
    motions = [m.motion(rig, options, APART) for m in (own, near)]
    if motions[0] is None or motions[1] is None:
        return False
    by_own, by_near = motions
    shares = [
        m.agree(rig, other, options).sum() / max(m.agree(rig, self_, options).sum(), 1)
        for m, self_, other in ((own, by_own, by_near), (near, by_near, by_own))
    ]
    return max(shares) < APART_SHARE
