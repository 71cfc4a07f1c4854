"""From matches between pairs of frames to points seen in many frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig
from stages.core.geometry.rigid import inverse, transform
from stages.core.geometry.stereo_points import project_stereo, stereo_residuals, triangulate
from stages.track.links.descriptor_matching import match_guided
from stages.track.links.stereo_pose import refine_motion
from stages.track.points.features import Likeness
from stages.track.points.frame_points import FramePoints


@dataclass(frozen=True)
class Tracks:
    """Observation m: point `point[m]` (0..P-1) is key point `feature[m]` of frame `frame[m]`; sorted by point, then frame."""

    point: np.ndarray
    frame: np.ndarray
    feature: np.ndarray

    @property
    def count(self) -> int:
        """Number of points."""
        return int(self.point.max()) + 1 if len(self.point) else 0

    def only(self, keep: np.ndarray, min_length: int) -> Tracks:
        """The observations of a bool mask; points with fewer than `min_length` left are dropped and the rest renumbered."""
        kept = np.bincount(self.point[keep], minlength=self.count)
        keep = keep & (kept[self.point] >= min_length)
        _, renumbered = np.unique(self.point[keep], return_inverse=True)
        return Tracks(renumbered, self.frame[keep], self.feature[keep])


def guided_matches(
    rig: Rig,
    a: FramePoints,
    b: FramePoints,
    b_from_a: np.ndarray,
    object_only: bool,
    radius_px: float,
    likeness: Likeness,
    max_error_px: float,
) -> np.ndarray:
    """(M, 2) point indices that match near where the known motion puts them and agree with the motion refined on them."""
    from_a = np.flatnonzero(np.isfinite(a.u_right) & (a.inside | a.mask_lost | (not object_only)))
    from_b = np.flatnonzero(b.inside) if object_only and not b.mask_lost else np.arange(len(b))
    x = a.xyz(rig)[from_a]
    predicted = project_stereo(rig, transform(b_from_a, x))
    descriptors = a.descriptor[from_a], b.uv[from_b], b.descriptor[from_b]
    matches = match_guided(predicted[:, :2], *descriptors, radius_px, likeness.ratio, likeness.max_distance)
    if len(matches) == 0:
        return matches
    motion = refine_motion(rig, b_from_a, x[matches[:, 0]], b.uvr[from_b[matches[:, 1]]], max_error_px)
    if motion is None:
        return np.zeros((0, 2), np.int64)
    good = matches[motion.inliers]
    return np.column_stack([from_a[good[:, 0]], from_b[good[:, 1]]])


def build_tracks(points: Mapping[int, FramePoints], pair_matches: Iterable[tuple[int, int, np.ndarray]]) -> Tracks:
    """Union-find over (a, b, matches); a match that would put two points of one frame into one track is refused.

    Give the pairs best first: what comes early is believed when later ones contradict it.
    """
    frames = sorted(points)
    offset = dict(zip(frames, np.cumsum([0, *(len(points[f]) for f in frames)][:-1]).tolist(), strict=True))
    owner = np.repeat(frames, [len(points[f]) for f in frames]).tolist()
    parent: dict[int, int] = {}
    members: dict[int, dict[int, int]] = {}

    def find(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    for a, b, matches in pair_matches:
        for i, j in np.add(matches, (offset[a], offset[b])).tolist():
            for n in (i, j):
                if n not in parent:
                    parent[n], members[n] = n, {owner[n]: n}
            ri, rj = find(i), find(j)
            if ri == rj:
                continue
            if len(members[ri]) < len(members[rj]):
                ri, rj = rj, ri
            if members[ri].keys() & members[rj].keys():
                continue
            members[ri].update(members.pop(rj))
            parent[rj] = ri
    rows = [(n, point) for point, root in enumerate(sorted(members)) for n in members[root].values()]
    node, point = np.array(rows, np.int64).reshape(-1, 2).T
    frame = np.array(owner, np.int64)[node] if len(node) else node
    feature = node - np.array([offset[f] for f in frame.tolist()], np.int64) if len(node) else node
    order = np.lexsort((frame, point))
    return Tracks(point[order], frame[order], feature[order])


def locate(
    rig: Rig, tracks: Tracks, poses: Mapping[int, np.ndarray], uvr: np.ndarray, sigma_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) triangulated from their observations `uvr` (M, 3), and the residuals (M, 3) px."""
    frames = sorted(poses)
    index = np.searchsorted(frames, tracks.frame)
    left_from_object = inverse(np.stack([poses[f] for f in frames]))
    x = triangulate(rig, left_from_object, index, tracks.point, uvr, sigma_px, tracks.count)
    return x, stereo_residuals(rig, left_from_object, index, x[tracks.point], uvr)


def gather(points: Mapping[int, FramePoints], tracks: Tracks, name: str) -> np.ndarray:
    """The attribute `name` of every observation's key point, (M, ...)."""
    first = getattr(next(iter(points.values())), name)
    out = np.empty((len(tracks.frame), *first.shape[1:]), first.dtype)
    for f in np.unique(tracks.frame).tolist():
        rows = tracks.frame == f
        out[rows] = getattr(points[f], name)[tracks.feature[rows]]
    return out
