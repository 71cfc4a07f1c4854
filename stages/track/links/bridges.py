"""Motions between successive frames that share few points: their surfaces are laid onto each other, and what points there are is asked.

No single witness will do. A surface alone slides (a cup turns in itself), a handful of matches alone is chance, and a look alone goes
together at the wrong place of a repeated print; what two of them say independently is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.core.dense.alignment import Alignment, align_surfaces
from stages.core.dense.look import detail_correlation, judge
from stages.core.dense.turns import tumbling_starts, turning_starts
from stages.core.dense.view import DenseView, both_ways
from stages.core.geometry.rigid import inverse, rotation_angle, transform
from stages.core.geometry.stereo_points import project_stereo
from stages.track.links.credibility import Known, credible
from stages.track.links.view_graph import Edge, compare
from stages.track.points.frame_points import object_middle

SURFACE_AGREE, SURFACE_VIOLATION, SURFACE_CORRELATION, SURFACE_SIGMA_DEG = 0.7, 0.06, 0.7, 0.8
"""an alignment of surfaces counts when so much of both meets, so little floats, grey values go together, and the turn is so certain"""
SEEN_SIGMA_DEG = 3.0
"""the same where another witness bears it out: the details of both pictures, or points"""
STEADY_SIGMA_DEG, STEADY_DEG = 1.5, 5.0
"""the same where the step before or after was the same motion to within so much"""
SURFACE_WORTH = 40
"""matches that an alignment of surfaces is worth: it is good to 0.1 to 0.5 degrees, a dozen matches to 1 to 3"""
FEW, FEW_SHARE, FEW_PX = 4, 0.35, 2.0
"""matches that must go along, their share of the proposed, and how far each may be off (times `max_error_px`). On random captures nine of
ten false alignments have at most 3 and none of them 5 with such a share; of true ones three of four have"""
FEW_BARE = 5
"""as many where the surface is so plain that its look is hardly more than noise"""
FEW_LOOK = 0.5
"""how well the details must go together beside them (true ones: 0.6 to 0.97, three of four false ones below 0.31)"""
CONTRADICTED_OF = 20
"""matches of which fewer than FEW_SHARE go along, from which on they speak against a motion; fewer may all be false ones"""
CHECKER_SHARE, CHECKER_LOOK = 0.2, 0.9
"""so few may go along where the turn is certain and the look this good: a checkered thing proposes mostly false ones"""
HELD_AGREE, HELD_VIOLATION, HELD_LOOK, HELD_ALONG = 0.35, 0.15, 0.6, 3
"""the same for the object with what holds it: fingers hide and show much of each other; and how many matches must go along"""
OWN_LOOK = 0.4
"""how well the object's own details must go together then, where they tell"""
LEAST_ASKED = 100
"""surface points of the object from which on they may contradict"""
HIDDEN_AGREE, HIDDEN_VIOLATION = 0.3, 0.02
"""the inner side of a bowl is hidden after a turn: so little of one surface may meet where hardly anything floats and the other meets"""


@dataclass(frozen=True)
class _Step:
    """Two successive frames, the motions of the steps beside, and the matches of their points on the object: xyz (M, 3) metres in a, uv
    (M, 2) px in b (none where the whole scene moves: it is not asked then)."""

    a: int
    b: int
    beside: Sequence[np.ndarray]
    xyz: np.ndarray
    uv: np.ndarray

    @staticmethod
    def of(known: Known, a: int, b: int, beside: Sequence[np.ndarray]) -> _Step:
        """Matched once, however many motions are asked."""
        pa, pb = known.points[a], known.points[b]
        if not known.object_only or pa.mask_lost or pb.mask_lost:
            return _Step(a, b, beside, np.zeros((0, 3)), np.zeros((0, 2)))
        from_a, from_b = np.flatnonzero(np.isfinite(pa.u_right) & pa.inside), np.flatnonzero(pb.inside)
        ia, ib = known.pair.matcher(pa, pb, from_a, from_b).T
        return _Step(a, b, beside, pa.xyz(known.rig)[ia], pb.uvr[ib][:, :2])

    def going_along(self, known: Known, b_from_a: np.ndarray) -> int:
        """How many of the matches do with a motion."""
        off = project_stereo(known.rig, transform(b_from_a, self.xyz))[:, :2] - self.uv
        with np.errstate(invalid="ignore"):
            return int((np.hypot(*off.T) < FEW_PX * known.pair.max_error_px).sum())


@dataclass(frozen=True)
class _Witness:
    """What speaks for one motion between two frames."""

    edge: Edge
    correlation: float
    """of grey values (alignment) or of details (look), to rank motions by"""


def bridges(known: Known, frames: Sequence[int], edges: Sequence[Edge]) -> list[Edge]:
    """Edges by aligned surfaces between successive frames that share few points; each new one gives the next a start."""
    own = {(e.a, e.b): e for e in edges}
    motion = {p: e.b_from_a for p, e in own.items()}
    found: dict[tuple[int, int], Edge] = {}
    turned: set[tuple[int, int]] = set()  # wide steps, tried once
    places = range(len(frames) - 1)
    for i in (*places, *reversed(places)):  # the second time round, starts come from behind
        a, b = frames[i], frames[i + 1]
        if (a, b) in found or ((a, b) in own and own[a, b].inliers >= SURFACE_WORTH):
            continue
        beside = [motion[p] for p in _beside(frames, i) if p in motion]
        step = _Step.of(known, a, b, beside)
        edge = _bridge(known, step, [*([motion[a, b]] if (a, b) in motion else []), *beside, np.eye(4)])
        if edge is None and (a, b) not in own and (a, b) not in turned:
            turned.add((a, b))
            edge = _wide(known, step)
        if edge is None and (a, b) not in own and known.held is not None:
            edge = _held(known, step, known.held, [*beside, np.eye(4)])
        known.progress(i, len(frames), "bridging gaps")
        if edge is not None:
            motion[a, b], found[a, b] = edge.b_from_a, edge
    return list(found.values())


def _beside(frames: Sequence[int], i: int) -> list[tuple[int, int]]:
    """The steps before and after the one from place i."""
    before = [(frames[i - 1], frames[i])] if i else []
    return before + ([(frames[i + 1], frames[i + 2])] if i + 2 < len(frames) else [])


def _bridge(known: Known, step: _Step, starts: Sequence[np.ndarray]) -> Edge | None:
    """The best alignment from any start that passes every test; it carries no matches. Where the scene's surfaces do not go together, the
    object's may."""
    edge = _aligned(known, step, starts, known.object_only)
    return edge if edge is not None or known.object_only else _aligned(known, step, starts, True)


def _wide(known: Known, step: _Step) -> Edge | None:
    """From wide turns about the object's middle, as far as it is known where that is in both frames, and from the motion of a few points.
    Those about the upright axis first, as they are what people do."""
    a, b = (known.points[f] for f in (step.a, step.b))
    few = compare(known.rig, a, b, True, replace(known.pair, min_inliers=FEW)) if known.object_only else None
    starts = [] if few is None else [few.b_from_a]
    middles = [object_middle(known.rig, points) for points in (a, b)]
    turns = [turning_starts, tumbling_starts] if known.object_only else [turning_starts]
    if not np.isfinite(middles).all():
        return _bridge(known, step, starts)
    for made in turns:
        edge = _bridge(known, step, [*starts, *made(*middles)])
        if edge is not None:
            return edge
    return _as_matched(known, step, few)


def _aligned(known: Known, step: _Step, starts: Sequence[np.ndarray], object_only: bool) -> Edge | None:
    best: _Witness | None = None
    for start in starts:
        aligned = align_surfaces(known.views[step.a], known.views[step.b], start, object_only)
        witness = None if aligned is None else _witness(known, step, aligned, object_only)
        if witness is not None and (best is None or witness.correlation > best.correlation):
            best = witness
    return None if best is None else best.edge


def _held(known: Known, step: _Step, held: Mapping[int, DenseView], starts: Sequence[np.ndarray]) -> Edge | None:
    """The best motion of the object with what holds it, where their surfaces and their look go together and nothing of the object itself
    contradicts."""
    a, b = held[step.a], held[step.b]
    few = compare(known.rig, known.points[step.a], known.points[step.b], True, replace(known.pair, min_inliers=FEW))
    best: _Witness | None = None
    for start in [*([] if few is None else [few.b_from_a]), *starts]:
        aligned = align_surfaces(a, b, start, True)
        if aligned is None or np.degrees(aligned.sigma_rad) > SURFACE_SIGMA_DEG:
            continue
        edge = Edge(step.a, step.b, aligned.b_from_a, np.zeros((0, 2), np.int64), SURFACE_WORTH)
        look = detail_correlation(a, b, aligned.b_from_a, True)
        if min(aligned.correlation, look.correlation) < HELD_LOOK or not _held_meet(held, edge):
            continue
        if _own_surface_denies(known, edge) or not _some_go_along(known, step, edge):
            continue
        if best is None or aligned.correlation > best.correlation:
            best = _Witness(edge, aligned.correlation)
    return None if best is None else best.edge


def _held_meet(held: Mapping[int, DenseView], edge: Edge) -> bool:
    """Whether the surfaces of both, with what holds the object, go together; of masks that end somewhere in the hand little is asked."""
    a, b = held[edge.a], held[edge.b]
    said = both_ways(a, b, edge.b_from_a, True)
    return min(x.agree for x in said) >= HELD_AGREE and max(x.violate - x.unseen for x in said) <= HELD_VIOLATION


def _some_go_along(known: Known, step: _Step, edge: Edge) -> bool:
    """Whether matches on the object and the hand, few as they may be, go along with a motion."""
    agreeing = step.going_along(known, edge.b_from_a)
    return agreeing >= HELD_ALONG and agreeing >= CHECKER_SHARE * len(step.xyz)


def _own_surface_denies(known: Known, edge: Edge) -> bool:
    """Whether the object's own surface floats, or does not look the same, as far as it can be asked."""
    a, b = known.views[edge.a], known.views[edge.b]
    said = both_ways(a, b, edge.b_from_a, True)
    look = detail_correlation(a, b, edge.b_from_a, True)
    if look.tells and look.correlation < OWN_LOOK:
        return True
    asked = [x.violate - x.unseen for x in said if x.asked >= LEAST_ASKED]
    return bool(asked) and max(asked) > HELD_VIOLATION


def _witness(known: Known, step: _Step, aligned: Alignment, object_only: bool) -> _Witness | None:
    """The motion of an alignment if enough speaks for it: a certain turn, or a less certain one that another witness bears out."""
    edge = Edge(step.a, step.b, aligned.b_from_a, np.zeros((0, 2), np.int64), SURFACE_WORTH)
    turn = np.degrees(aligned.sigma_rad)
    if turn > SEEN_SIGMA_DEG:
        return None
    meet = credible(known, edge, SURFACE_AGREE, SURFACE_VIOLATION)
    if not meet and not _hidden(known, edge):
        return None
    look = judge(known.views[step.a], known.views[step.b], aligned.b_from_a, object_only).correlation
    if known.object_only and _matches_contradict(known, step, edge, turn <= SURFACE_SIGMA_DEG and look >= CHECKER_LOOK):
        return None
    if known.object_only and _few_agree(known, step, edge):
        return _Witness(edge, max(aligned.correlation, SURFACE_CORRELATION))
    if aligned.correlation < SURFACE_CORRELATION or not meet:
        return None
    steady = (
        known.object_only
        and turn <= STEADY_SIGMA_DEG
        and any(_turn_between(aligned.b_from_a, m) <= STEADY_DEG for m in step.beside)
    )
    sure = turn <= SURFACE_SIGMA_DEG or look >= SURFACE_CORRELATION or steady
    return _Witness(edge, aligned.correlation) if sure else None


def _as_matched(known: Known, step: _Step, few: Edge | None) -> Edge | None:
    """The motion of a few points as it is, where aligning ran away from it but surfaces, look and matches bear it out."""
    if few is None or not known.object_only:
        return None
    meet = credible(known, few, SURFACE_AGREE, SURFACE_VIOLATION) or _hidden(known, few)
    return replace(few, surface_worth=few.inliers) if meet and _few_agree(known, step, few) else None


def _hidden(known: Known, edge: Edge) -> bool:
    """Whether what does not meet of the surfaces is hidden."""
    a, b = known.views[edge.a], known.views[edge.b]
    said = both_ways(a, b, edge.b_from_a, True)
    shares = sorted(x.agree for x in said)
    hidden = known.object_only and max(x.violate for x in said) <= HIDDEN_VIOLATION
    return hidden and shares[0] >= HIDDEN_AGREE and shares[1] >= 1 - 2 * HIDDEN_VIOLATION


def _matches_contradict(known: Known, step: _Step, edge: Edge, sure: bool) -> bool:
    proposed = len(step.xyz)
    return (
        proposed >= CONTRADICTED_OF
        and step.going_along(known, edge.b_from_a) < (CHECKER_SHARE if sure else FEW_SHARE) * proposed
    )


def _few_agree(known: Known, step: _Step, edge: Edge) -> bool:
    """Whether a few matches go along, and the object's look does."""
    agreeing = step.going_along(known, edge.b_from_a)
    if agreeing < FEW or agreeing < FEW_SHARE * len(step.xyz):
        return False
    look = detail_correlation(known.views[edge.a], known.views[edge.b], edge.b_from_a, True)
    return look.correlation >= FEW_LOOK and (agreeing >= FEW_BARE or look.tells)


def _turn_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(rotation_angle(inverse(a) @ b)))
