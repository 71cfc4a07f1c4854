"""Which frames to compare, what each comparison said, and the poses that follow from the best of them.

Frames are nodes, measured motions are edges. Neighbours in time are compared first; key frames that look alike are compared next, which
closes loops and finds an object again after it was lost. The maximum spanning tree of what the edges are worth gives every frame of the
largest connected part its pose; the rest is lost, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, rotation_angle
from stages.core.groups import joined
from stages.track.links.descriptor_matching import match_mutual
from stages.track.links.pair_matching import PairMatcher
from stages.track.links.stereo_pose import estimate_motion
from stages.track.points.frame_points import FramePoints


@dataclass(frozen=True)
class Edge:
    """The motion b_from_a (4, 4) between frames a and b, and the matches (M, 2) of point indices that agree with it.

    `surface_worth`: how many matches the motion is worth if it comes from aligned surfaces, else 0. `proposed`: how many matches the
    matcher proposed.
    """

    a: int
    b: int
    b_from_a: np.ndarray
    matches: np.ndarray
    surface_worth: int = 0
    proposed: int = 0

    @property
    def inliers(self) -> int:
        """Number of agreeing matches."""
        return len(self.matches)

    @property
    def worth(self) -> int:
        """What decides between edges."""
        return max(self.inliers, self.surface_worth)


@dataclass(frozen=True)
class PairOptions:
    """How two frames are matched, and what makes the comparison count."""

    matcher: PairMatcher
    max_error_px: float
    min_inliers: int
    seed: int


def compare(rig: Rig, a: FramePoints, b: FramePoints, object_only: bool, options: PairOptions) -> Edge | None:
    """Match two frames and estimate their motion; None without support. With `object_only`, points off the object are left out,
    except in one of the frames when its mask was lost: the other frame's object points then find the object by themselves."""
    if object_only and a.mask_lost and not b.mask_lost:
        back = compare(rig, b, a, object_only, options)
        return (
            None
            if back is None
            else Edge(a.frame, b.frame, inverse(back.b_from_a), back.matches[:, ::-1], proposed=back.proposed)
        )
    if object_only and a.mask_lost:
        return None
    from_a = np.flatnonzero(np.isfinite(a.u_right) & (a.inside | (not object_only)))
    from_b = np.flatnonzero(b.inside) if object_only and not b.mask_lost else np.arange(len(b))
    ia, ib = options.matcher(a, b, from_a, from_b).T
    motion = estimate_motion(rig, a.xyz(rig)[ia], b.uvr[ib], options.max_error_px, options.min_inliers, options.seed)
    if motion is None:
        return None
    return Edge(a.frame, b.frame, motion.b_from_a, np.column_stack([ia, ib])[motion.inliers], proposed=len(ia))


def neighbour_pairs(frames: Sequence[int], gaps: Sequence[int]) -> list[tuple[int, int]]:
    """(a, b) for frames that lie `gap` places apart, for every gap."""
    return [(frames[i], frames[i + g]) for g in gaps for i in range(len(frames) - g)]


def connected(frames: Iterable[int], edges: Iterable[Edge]) -> list[list[int]]:
    """Parts that the edges connect, largest first (ties: the one with the earliest frame)."""
    return joined(frames, [(e.a, e.b) for e in edges])


def spanning_poses(frames: Iterable[int], edges: Sequence[Edge]) -> tuple[dict[int, np.ndarray], set[tuple[int, int]]]:
    """{frame: root_from_left} of the largest connected part by its maximum spanning tree, and the (a, b) of the tree's edges.

    The root is the part's first frame.
    """
    links: dict[int, list[tuple[int, np.ndarray]]] = {}
    tree: set[tuple[int, int]] = set()
    part = {f: f for f in frames}

    def find(f: int) -> int:
        while part[f] != f:
            part[f] = part[part[f]]
            f = part[f]
        return f

    for e in sorted(edges, key=lambda e: (-e.worth, e.a, e.b)):
        if find(e.a) != find(e.b):
            part[find(e.a)] = find(e.b)
            tree.add((e.a, e.b))
            links.setdefault(e.a, []).append((e.b, inverse(e.b_from_a)))
            links.setdefault(e.b, []).append((e.a, e.b_from_a))
    root = connected(part, edges)[0][0]
    poses, waiting = {root: np.eye(4)}, [root]
    while waiting:
        a = waiting.pop()
        for b, a_from_b in links.get(a, []):
            if b not in poses:
                poses[b] = poses[a] @ a_from_b
                waiting.append(b)
    return dict(sorted(poses.items())), tree


def view_change(a: np.ndarray, b: np.ndarray, centre: np.ndarray) -> float:
    """How much two views (object_from_left) of `centre` (3,) differ, radians: the larger of the turn of the camera and the angle
    between its two lines of sight to the centre."""
    da, db = a[:3, 3] - centre, b[:3, 3] - centre
    cosine = da @ db / max(np.linalg.norm(da) * np.linalg.norm(db), 1e-12)
    return max(rotation_angle(inverse(a) @ b), float(np.arccos(np.clip(cosine, -1, 1))))


def choose_keyframes(
    poses: Mapping[int, np.ndarray], unposed: Iterable[int], centre: np.ndarray, step_rad: float
) -> list[int]:
    """Frames, in order, that see the object from a view no earlier key frame is near to; frames without a pose are all taken."""
    chosen: list[int] = []
    for frame, pose in poses.items():
        if all(view_change(pose, poses[c], centre) >= step_rad for c in chosen):
            chosen.append(frame)
    return sorted([*chosen, *unposed])


def alike_pairs(
    points: Mapping[int, FramePoints],
    keyframes: Sequence[int],
    done: set[tuple[int, int]],
    object_only: bool,
    per_frame: int,
    ratio: float,
    sample: int = 400,
    min_votes: int = 12,
) -> list[tuple[int, int]]:
    """Pairs of key frames not compared yet whose coarsest points match best: loops and relocalisation without a vocabulary.

    The coarsest points are the steadiest under changes of view; a sample of them is enough to rank frames.
    """
    coarse = {f: _coarsest(points[f], object_only, sample) for f in keyframes}
    votes: dict[int, list[tuple[int, int]]] = {f: [] for f in keyframes}
    for i, a in enumerate(keyframes):
        for b in keyframes[i + 1 :]:
            if (a, b) in done:
                continue
            count = len(match_mutual(coarse[a], coarse[b], ratio))
            if count >= min_votes:
                votes[a].append((-count, b))
                votes[b].append((-count, a))
    chosen = {(min(f, g), max(f, g)) for f in keyframes for _, g in sorted(votes[f])[:per_frame]}
    return sorted(chosen)


def _coarsest(points: FramePoints, object_only: bool, count: int) -> np.ndarray:
    use = np.flatnonzero(points.inside) if object_only and not points.mask_lost else np.arange(len(points))
    return points.descriptor[use[np.argsort(-points.scale_px[use], kind="stable")[:count]]]
