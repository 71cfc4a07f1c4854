"""More observations for frames with few: points known from other frames are predicted into them and found there by their looks.

Descriptors give up when a surface is seen at a very different slant; a window warped by the known plane and pose does not. Only the
prediction is made here; `track_refinement` then aligns the windows and measures the right eye, and drops what does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.view import DenseView
from stages.core.geometry.directions import unit
from stages.core.geometry.rigid import inverse, transform
from stages.core.geometry.stereo_points import project_stereo
from stages.track.points.frame_points import FramePoints
from stages.track.tracks.multiview_tracks import Tracks

PREDICTED = -1
"""`feature` of an observation that no detector made"""


def weak_frames(tracks: Tracks, frames: Sequence[int], enough: int) -> list[int]:
    """Frames with fewer than `enough` observations."""
    return [f for f in frames if (tracks.frame == f).sum() < enough]


def with_single_views(
    rig: Rig,
    tracks: Tracks,
    xyz: np.ndarray,
    points: Mapping[int, FramePoints],
    poses: Mapping[int, np.ndarray],
    object_only: bool,
    frames: Sequence[int],
) -> tuple[Tracks, np.ndarray]:
    """Tracks with every other stereo point of `frames` appended as a point of one observation, and all points (P', 3)."""
    point, frame, feature, more = [tracks.point], [tracks.frame], [tracks.feature], [xyz]
    count = len(xyz)
    for f in frames:
        p = points[f]
        free = np.isfinite(p.u_right) & (p.inside | (not object_only))
        free[tracks.feature[tracks.frame == f]] = False
        new = np.flatnonzero(free)
        point.append(count + np.arange(len(new)))
        frame.append(np.full(len(new), f))
        feature.append(new)
        more.append(transform(poses[f], p.xyz(rig)[new]))
        count += len(new)
    return Tracks(*(np.concatenate(a) for a in (point, frame, feature))), np.concatenate(more)


def predict(
    rig: Rig,
    tracks: Tracks,
    xyz: np.ndarray,
    poses: Mapping[int, np.ndarray],
    views: Mapping[int, DenseView],
    object_only: bool,
    wanted: Mapping[int, int],
    max_angle_rad: float,
) -> tuple[Tracks, np.ndarray]:
    """Tracks with the predicted observations appended, and their px (K, 3): points seen from a similar direction in another frame that
    project onto the object, at the depth that the dense disparity shows there (so they are not hidden).

    `wanted` {frame: first point}: a frame is asked for the points from that number on."""
    nearest = _sight_per_point(tracks, xyz, poses)
    point, frame, uvr = [tracks.point], [tracks.frame], [np.zeros((0, 3))]
    for f, first in wanted.items():
        have = np.arange(len(xyz)) < first
        have[tracks.point[tracks.frame == f]] = True
        sight = poses[f][:3, 3] - xyz
        sight /= np.linalg.norm(sight, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            near = np.einsum("pi,pi->p", sight, nearest) > np.cos(max_angle_rad)
        candidates = np.flatnonzero(near & ~have)
        predicted = project_stereo(rig, transform(inverse(poses[f]), xyz[candidates]))
        keep = _visible(views[f], predicted, object_only)
        point.append(candidates[keep])
        frame.append(np.full(int(keep.sum()), f))
        uvr.append(predicted[keep])
    new = np.concatenate(uvr)
    feature = np.concatenate([tracks.feature, np.full(len(new), PREDICTED)])
    return Tracks(np.concatenate(point), np.concatenate(frame), feature), new


def _sight_per_point(tracks: Tracks, xyz: np.ndarray, poses: Mapping[int, np.ndarray]) -> np.ndarray:
    """(P, 3) mean direction, unit, from which each point was seen."""
    sight = np.stack([poses[f][:3, 3] for f in tracks.frame.tolist()]) - xyz[tracks.point]
    sight /= np.linalg.norm(sight, axis=1, keepdims=True)
    mean = np.stack([np.bincount(tracks.point, sight[:, i], len(xyz)) for i in range(3)], 1)
    return unit(mean)


def _visible(view: DenseView, uvr: np.ndarray, object_only: bool) -> np.ndarray:
    """(K,) bool: inside the picture, on the object, and where the frame's own surface is."""
    uv = view.pixels(uvr[:, :2])
    with np.errstate(invalid="ignore"):
        inside = (uv[:, 0] > 0) & (uv[:, 1] > 0) & (uv[:, 0] < view.rig.width - 1) & (uv[:, 1] < view.rig.height - 1)
    pixel = np.rint(np.where(inside[:, None], uv, 0)).astype(int)
    at = (pixel[:, 1], pixel[:, 0])
    disparity, seen = uvr[:, 0] - uvr[:, 2], view.disparity[at].astype(np.float64)
    tolerance = np.maximum(4 * view.sigma[at].astype(np.float64), 0.04 * disparity)
    with np.errstate(invalid="ignore"):
        hidden = ~(np.abs(disparity - seen) <= tolerance)
    return inside & ~hidden & (view.mask[at] | (not object_only) | (not view.mask.any()))
