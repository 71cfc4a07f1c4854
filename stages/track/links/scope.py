"""Does the whole scene move as one, or does the object move by itself?

"scene": the camera goes round a still scene. Points of the whole picture then measure its motion, which is far stronger than the
object's points alone and does not suffer from a bad mask. "object": only points on the object tell its motion.
Over pairs of frames with enough motion it is asked whether the motion of the background also explains where the object's points went.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import transform
from stages.core.geometry.stereo_points import project_stereo
from stages.track.links.stereo_pose import Motion, agreeing, estimate_motion
from stages.track.links.view_graph import PairOptions
from stages.track.points.frame_points import FramePoints

MAX_PAIRS = 12
"""pairs that are asked first; the answer is nearly always unanimous"""
ENOUGH_VOTES, MOST_PAIRS = 6, 48
"""all neighbours are asked, up to so many pairs, while fewer pairs than these have answered"""
LEAST_VOTES = 3
"""fewer answers, where more pairs were asked, show nothing"""
STILL_SHARE = 0.75
"""share of the votes that calls the scene still: in a still scene every pair says so, while an object and a camera that both move may move
alike for a while"""
MIN_FLOW = 0.006
"""least median motion in the picture that can tell the two cases apart, share of the picture width (8 px of 1280)"""
SHARE_EXPLAINED = 0.5
"""share of the object's moving points that the background's motion must explain to call the pair still"""


@dataclass(frozen=True)
class ScopeVote:
    """What one pair of frames said: "scene", "object" or "" (no answer), and why."""

    a: int
    b: int
    answer: str
    share_explained: float | None
    flow_px: float


def decide_scope(rig: Rig, points: Mapping[int, FramePoints], options: PairOptions) -> tuple[str, str, list[ScopeVote]]:
    """("scene" or "object", the reason in plain words, the votes)."""
    votes = list(_votes(rig, points, options))
    answers = [v for v in votes if v.answer]
    return *verdict(answers, len(votes)), answers


def verdict(votes: Sequence[ScopeVote], asked: int) -> tuple[str, str]:
    """Scope and reason from the answers of so many pairs. The object alone always tells its own motion, a still scene has to be shown."""
    scene, n = sum(v.answer == "scene" for v in votes), len(votes)
    if not votes:
        return "object", "no pair of frames moved enough, on and off the object, to compare object and background"
    if n < min(LEAST_VOTES, asked):
        return (
            "object",
            f"only {n} of {asked} pairs of frames moved enough, on and off the object, to compare object and background",
        )
    explained = [v.share_explained for v in votes if v.share_explained is not None]
    share = f"; it explains {100 * float(np.median(explained)):.0f} % of the object's points" if explained else ""
    if scene >= STILL_SHARE * n:
        return "scene", f"the background moves together with the object in {scene} of {n} pairs of frames{share}"
    return "object", f"the object moves against the background in {n - scene} of {n} pairs of frames{share}"


def _votes(rig: Rig, points: Mapping[int, FramePoints], options: PairOptions) -> Iterator[ScopeVote]:
    """What pairs with a mask in both frames say: neighbours and frames a few places apart, spread over the capture, then more of the
    neighbours if those told little."""
    frames = [f for f, p in points.items() if not p.mask_lost]
    neighbours = list(itertools.pairwise(frames))
    first = _spread([*neighbours, *zip(frames, frames[3:], strict=False)], MAX_PAIRS)
    answers = 0
    for asked, (a, b) in enumerate(
        [*first, *_spread([p for p in neighbours if p not in first], MOST_PAIRS - MAX_PAIRS)]
    ):
        if asked >= MAX_PAIRS and answers >= ENOUGH_VOTES:
            return
        vote = _ask(rig, points[a], points[b], options)
        answers += bool(vote.answer)
        yield vote


def _spread(pairs: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """At most so many of them, evenly."""
    return pairs if len(pairs) <= most else [pairs[i] for i in np.linspace(0, len(pairs) - 1, most).round().astype(int)]


def _ask(rig: Rig, a: FramePoints, b: FramePoints, options: PairOptions) -> ScopeVote:
    on, x_on, uvr_on = _motion(rig, a, b, True, options)
    off, _, _ = _motion(rig, a, b, False, options)
    least = MIN_FLOW * rig.width
    if on is None:
        # a bare object: only a background that streams past tells something, namely that the camera moves
        flow = (
            0.0 if off is None else median_flow(rig, off.b_from_a, a.only(~a.inside & np.isfinite(a.u_right)).xyz(rig))
        )
        return ScopeVote(a.frame, b.frame, "scene" if flow > least else "", None, flow)
    moved = median_flow(rig, on.b_from_a, x_on[on.inliers])
    if off is None or moved < least:
        return ScopeVote(a.frame, b.frame, "", None, moved)
    residual = project_stereo(rig, transform(off.b_from_a, x_on[on.inliers])) - uvr_on[on.inliers]
    share = float(agreeing(residual, 2 * options.max_error_px).mean())
    return ScopeVote(a.frame, b.frame, "scene" if share >= SHARE_EXPLAINED else "object", share, moved)


def _motion(
    rig: Rig, a: FramePoints, b: FramePoints, inside: bool, options: PairOptions
) -> tuple[Motion | None, np.ndarray, np.ndarray]:
    from_a, from_b = np.flatnonzero((a.inside == inside) & np.isfinite(a.u_right)), np.flatnonzero(b.inside == inside)
    ia, ib = options.matcher(a, b, from_a, from_b).T
    x, uvr = a.xyz(rig)[ia], b.uvr[ib]
    return estimate_motion(rig, x, uvr, options.max_error_px, options.min_inliers, options.seed), x, uvr


def median_flow(rig: Rig, b_from_a: np.ndarray, x: np.ndarray) -> float:
    """By how much points (N, 3) metres move in the left picture, px; 0 where none can be seen."""
    shift = project_stereo(rig, transform(b_from_a, x)) - project_stereo(rig, x)
    length = np.hypot(shift[:, 0], shift[:, 1])
    return float(np.nanmedian(length)) if np.isfinite(length).any() else 0.0
