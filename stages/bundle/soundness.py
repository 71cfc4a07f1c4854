"""Do the frames' own surfaces stay where the adjusted poses put them? Asked of the object where nothing else tells its motion, of all that
is in the picture where the object stands still in a scene.

Points that are few, or that lie on a wall the mask let in, fit one another and are wrong all the same. The whole surfaces of two frames,
aligned from the claimed motion, then drift away from it. On rendered captures right neighbours move by 0.1 to 0.8 mm, those that are 3 to
9 mm off by 1 to 7 mm. Frames are sound together when their surfaces stay; those apart from the largest such group have an uncertain pose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from stages.core.dense.alignment import align_surfaces
from stages.core.dense.look import judge
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import inverse, transform
from stages.core.groups import joined
from stages.core.parallel import ordered_map

STAYS_M, STAYS_SHARE = 0.0009, 0.005
"""surfaces stay when they move by less than the larger of this and of this share of the object's size"""
ASKED = 2
"""frames before each that it is asked against"""
SCENE_STAYS_M, SCENE_STAYS_SHARE = 0.002, 0.01
"""the same of a scene: the largest error that a pose may have"""
LEAST_GAIN = 0.02
"""by which the look must go together better where a scene is aligned: along stripes, and on a bare table, alignment slides, and nothing is
gained. Right neighbours gain -0.01 to 0.01; those 6 mm off 0.03 to 0.05, those 13 mm off 0.34"""
LEAST_LOOK, BELOW_USUAL = 0.7, 0.15
"""correlation of two frames, or so far below that of most neighbours, at which half the motion tells against them: right neighbours are at
0.84 to 0.98 (0.54 and still where the light changes), those off by 3 degrees at 0.56 and 0.67"""
NEAR = 2.0
"""of the object's distance: what is farther away hardly changes with where a camera is, and would outweigh what does"""
ONLY_FAR = "nothing near the object ties it to the most of the others: what is far leaves open where the camera was"
MOST_OF_SCENE = 150
"""frames of a scene that are asked: 0.2 s each; those between go with the one before"""


def apart(
    views: Mapping[int, DenseView], object_from_left: Mapping[int, np.ndarray], size_m: float, workers: int
) -> dict[int, str]:
    """{frame: why} of the frames whose surfaces do not stay on those of the largest group; `size_m`: the object's."""
    frames = sorted(object_from_left)
    pairs = _pairs(frames)
    moved = dict(zip(pairs, ordered_map(lambda p: _moved(views, object_from_left, *p), pairs, workers), strict=True))
    stays = max(STAYS_M, STAYS_SHARE * size_m)
    groups = joined(frames, [p for p, m in moved.items() if m is None or m <= stays])
    return {f: _reason(f, moved) for group in groups[1:] for f in group}


def _pairs(frames: Sequence[int]) -> list[tuple[int, int]]:
    return [(a, b) for i, b in enumerate(frames) for a in frames[max(0, i - ASKED) : i]]


def _moved(views: Mapping[int, DenseView], object_from_left: Mapping[int, np.ndarray], a: int, b: int) -> float | None:
    """Metres by which the surface of a moves when it is aligned with that of b, or b's with a's, whichever is less; None = both cannot be
    aligned."""
    claimed = inverse(object_from_left[b]) @ object_from_left[a]
    there = _drift(views[a], views[b], claimed)
    back = _drift(views[b], views[a], inverse(claimed)) if there is None or there > STAYS_M else there
    found = [d for d in (there, back) if d is not None]
    return min(found) if found else None


def _drift(a: DenseView, b: DenseView, claimed: np.ndarray) -> float | None:
    aligned = align_surfaces(a, b, claimed, True)
    return None if aligned is None else _shift(a, aligned.b_from_a, claimed)


def _shift(view: DenseView, one: np.ndarray, other: np.ndarray) -> float:
    """Metres between where two motions put what a view shows of the object, on average."""
    x = view.surface(True)[1]
    return float(np.linalg.norm(transform(one, x) - transform(other, x), axis=1).mean())


@dataclass(frozen=True)
class _Said:
    """Of two frames of a scene: correlation of their look as claimed (NaN = they do not tell), what it gains where they are aligned, and
    by how many metres that moves the object."""

    look: float
    gain: float = 0.0
    moved: float = 0.0


def apart_in_scene(
    views: Mapping[int, DenseView],
    object_from_left: Mapping[int, np.ndarray],
    size_m: float,
    workers: int,
    tied: Callable[[Sequence[int], Sequence[int]], bool] = lambda one, other: True,
) -> dict[int, str]:
    """{frame: why} of the frames that do not go together with the largest group, by all that they show; `size_m`: the object's; `tied`:
    whether points near the object hold two groups of frames together, which is asked where their pictures do not tell."""
    frames = sorted(object_from_left)
    chosen = frames[:: -(-len(frames) // MOST_OF_SCENE)]
    pairs = _pairs(chosen)
    views = {f: _near(views[f]) for f in chosen}
    said = dict(zip(pairs, ordered_map(lambda p: _said(views, object_from_left, *p), pairs, workers), strict=True))
    stays = max(SCENE_STAYS_M, SCENE_STAYS_SHARE * size_m)
    looks = [said[p].look for p in pairwise(chosen) if np.isfinite(said[p].look)]
    least = min(LEAST_LOOK, float(np.median(looks)) - BELOW_USUAL) if looks else 0.0
    against = {p for p, s in said.items() if _contradicts(s, least, stays)}
    silent = [p for p, s in said.items() if not np.isfinite(s.look)]
    groups = _joined_by_silence(
        joined(chosen, [p for p in pairs if p not in against and p not in silent]), silent, against, tied
    )
    away = {
        f: _reason_in_scene(f, said) if _any_of(group, against) else ONLY_FAR for group in groups[1:] for f in group
    }
    before = {f: chosen[int(np.searchsorted(chosen, f, "right")) - 1] for f in frames}
    return {f: away[before[f]] for f in frames if before[f] in away}


def _near(view: DenseView) -> DenseView:
    """The view without the depth of what is far behind the object."""
    ours = view.disparity[view.mask & np.isfinite(view.disparity)].astype(np.float64)
    if not len(ours):
        return view
    with np.errstate(invalid="ignore"):
        return replace(
            view, disparity=np.where(view.disparity * NEAR > np.median(ours), view.disparity, np.float16(np.nan))
        )


def _contradicts(said: _Said, least_look: float, stays: float) -> bool:
    return (said.gain >= LEAST_GAIN and said.moved > stays) or (said.look < least_look and said.moved > 0.5 * stays)


def _joined_by_silence(
    groups: list[list[int]],
    silent: list[tuple[int, int]],
    against: set[tuple[int, int]],
    tied: Callable[[Sequence[int], Sequence[int]], bool],
) -> list[list[int]]:
    """Groups, the largest first, joined by pairs that do not tell, unless another pair of the two groups contradicts or no point near the
    object ties the two: what is far tells how a camera turned, and leaves open where it is."""
    group_of = {f: k for k, group in enumerate(groups) for f in group}
    parted = {frozenset((group_of[a], group_of[b])) for a, b in against}
    between = {(group_of[a], group_of[b]) for a, b in silent if group_of[a] != group_of[b]}
    ties = [(a, b) for a, b in sorted(between) if frozenset((a, b)) not in parted and tied(groups[a], groups[b])]
    out = [sorted(f for k in part for f in groups[k]) for part in joined(list(range(len(groups))), ties)]
    return sorted(out, key=lambda g: (-len(g), g[0]))


def _said(views: Mapping[int, DenseView], object_from_left: Mapping[int, np.ndarray], a: int, b: int) -> _Said:
    claimed = inverse(object_from_left[b]) @ object_from_left[a]
    before = judge(views[a], views[b], claimed, False).correlation
    aligned = align_surfaces(views[a], views[b], claimed, False) if np.isfinite(before) else None
    if aligned is None:
        return _Said(before)
    after = judge(views[a], views[b], aligned.b_from_a, False).correlation
    if not np.isfinite(after) or not len(views[a].surface(True)[1]):
        return _Said(before)
    return _Said(before, after - before, _shift(views[a], aligned.b_from_a, claimed))


def _any_of(group: Sequence[int], pairs: set[tuple[int, int]]) -> bool:
    return any(a in group or b in group for a, b in pairs)


def _reason_in_scene(frame: int, said: Mapping[tuple[int, int], _Said]) -> str:
    moved = [s.moved for p, s in said.items() if frame in p and s.gain >= LEAST_GAIN]
    if moved:
        return f"what it shows goes better with the frames beside it {1000 * min(moved):.1f} mm away from its pose"
    return "what it shows does not go together with the frames beside it, or these are off"


def _reason(frame: int, moved: Mapping[tuple[int, int], float | None]) -> str:
    least = min((m for p, m in moved.items() if frame in p and m is not None), default=0.0)
    return f"its surface does not stay on that of the frames beside it: it would move by {1000 * least:.1f} mm or more"
