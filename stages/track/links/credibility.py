"""Whether to believe a motion between two frames: what the surfaces, the masks and the background say to it.

A few matching points can lie, and so can a mask, or the depth of a table that repeats. None of them is believed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.view import DenseView, both_ways
from stages.core.geometry.rigid import transform
from stages.core.geometry.stereo_points import project_stereo
from stages.track.links.descriptor_matching import match_guided
from stages.track.links.view_graph import Edge, PairOptions
from stages.track.points.frame_points import FramePoints

Progress = Callable[[int, int, str], None]
MIN_ASKED = 300
"""surface points that must meet before their verdict counts"""
NEIGHBOUR_VIOLATION, NEIGHBOUR_AGREE = 0.15, 0.5
"""a motion between neighbours is false when more of the surface floats or falls off the object, or less of it is met"""
LOOP_VIOLATION, LOOP_AGREE = 0.04, 0.5
"""the same for loops: true ones stay below 0.04 on the captures tried, front taken for back is at 0.05 to 0.3"""
MIN_OBJECT, TORN, OUT_OF_PLACE = 150, 0.6, 0.1
"""with so many surface points of the object in both frames it may deny a motion of the scene: when more than TORN of them would float, or
fewer than OUT_OF_PLACE would be in the picture (true motions of neighbours: below 0.35, above 0.6; shifts by a pattern: 0.9, 0)"""
SURE_INLIERS, SURE_SHARE = 80, 0.6
"""the object is not asked when so many matches, and so large a share of the proposed, agree (shifts by a pattern: up to 72, below 0.55)"""
TRUSTED_SHARE = 0.5
"""share of the proposed matches that must agree before a motion between neighbours is held against a mask"""
BACKGROUND_SHARE = 0.2
"""a motion is the background's when so many of its points are found where the motion puts them (true ones: half, chance: 0.02)"""


@dataclass(frozen=True)
class LinkOptions:
    """Which pairs to compare (`alike_ratio`, `max_distance`: see Likeness); `strong_inliers` points make a motion where surfaces cannot be
    asked."""

    gaps: tuple[int, ...]
    keyframe_step_rad: float
    alike_per_frame: int
    alike_ratio: float
    max_distance: float
    strong_inliers: int


@dataclass(frozen=True)
class Known:
    """What is known of all frames, and how they are compared."""

    rig: Rig
    points: Mapping[int, FramePoints]
    views: Mapping[int, DenseView]
    object_only: bool
    pair: PairOptions
    link: LinkOptions
    workers: int
    progress: Progress
    held: Mapping[int, DenseView] | None = None
    """the views with what holds the object in their masks; None = nothing is known to hold it fast"""


def credible(known: Known, edge: Edge, agree: float, violation: float) -> bool:
    """Whether the surfaces of both frames bear the edge out; where they cannot be asked, many points must.

    In a still scene the object's surface may speak alone: a table that repeats or mirrors can be measured wrongly in one frame.
    """
    verdict = _borne_out(known, edge, known.object_only, agree, violation)
    if verdict is None:
        verdict = edge.inliers >= known.link.strong_inliers
    elif not verdict and not known.object_only:
        verdict = bool(_borne_out(known, edge, True, agree, violation))
    return verdict and not (_of_the_background(known, edge) if known.object_only else _object_denies(known, edge))


def _borne_out(known: Known, edge: Edge, object_only: bool, agree: float, violation: float) -> bool | None:
    """What the surfaces say; None when too little of them meets."""
    there, back = both_ways(known.views[edge.a], known.views[edge.b], edge.b_from_a, object_only)
    if min(there.asked, back.asked) < MIN_ASKED:
        return None
    # where only a mask contradicts many points, the mask is more likely to be wrong
    trusted = (
        edge.inliers >= known.link.strong_inliers
        and edge.inliers >= TRUSTED_SHARE * edge.proposed
        and violation > LOOP_VIOLATION
    )
    floating = [x.violate - x.unseen if trusted else x.violate for x in (there, back)]
    return min(there.agree, back.agree) >= agree and max(floating) <= violation


def _object_denies(known: Known, edge: Edge) -> bool:
    """Whether a still scene's motion tears the object from its place: a cloth that repeats bears out a shift by its pattern."""
    if edge.inliers >= SURE_INLIERS and edge.inliers >= SURE_SHARE * edge.proposed:
        return False
    a, b = known.views[edge.a], known.views[edge.b]
    size = [len(v.surface(True)[0]) for v in (a, b)]
    if min(size) < MIN_OBJECT:
        return False
    said = both_ways(a, b, edge.b_from_a, True)
    return any(x.violate > TORN or x.asked < OUT_OF_PLACE * n for x, n in zip(said, size, strict=True))


def _of_the_background(known: Known, edge: Edge) -> bool:
    """Whether few points carry the motion, and those off the object move so too: a mask that holds some background is then to blame."""
    if edge.inliers >= known.link.strong_inliers or edge.surface_worth:
        return False
    a, b = known.points[edge.a], known.points[edge.b]
    off_a, off_b = np.flatnonzero(~a.inside & np.isfinite(a.u_right)), np.flatnonzero(~b.inside)
    place = project_stereo(known.rig, transform(edge.b_from_a, a.xyz(known.rig)[off_a]))[:, :2]
    with np.errstate(invalid="ignore"):
        seen = ((place > 0) & (place < (known.rig.width, known.rig.height))).all(1)
    if seen.sum() < known.link.strong_inliers:
        return False
    near = match_guided(
        place,
        a.descriptor[off_a],
        b.uv[off_b],
        b.descriptor[off_b],
        known.pair.max_error_px,
        1.0,
        known.link.max_distance,
    )
    return len(near) > BACKGROUND_SHARE * seen.sum()
