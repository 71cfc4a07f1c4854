"""From linked frames to what `track` hands on: tracks over all posed frames, aligned to sub-pixel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.core.camera import Rig
from stages.core.dense.view import DenseView
from stages.core.geometry.rigid import transform
from stages.track.links.linking import ViewGraph, object_centre
from stages.track.points.frame_points import FramePoints
from stages.track.tracks.multiview_tracks import Tracks, gather, locate
from stages.track.tracks.result import TrackResult
from stages.track.tracks.track_refinement import PictureSource, RefineOptions, refine_tracks
from stages.track.tracks.tracking import Progress, TrackOptions, extended, make_tracks

LEAST_SIGMA_PX, MOST_SIGMA_PX = 0.05, 2.0
"""bounds on the standard deviation claimed for an observation"""


def assemble(
    rig: Rig,
    points: Mapping[int, FramePoints],
    views: Mapping[int, DenseView],
    graph: ViewGraph,
    object_only: bool,
    options: TrackOptions,
    refinement: RefineOptions,
    pictures: PictureSource,
    workers: int,
    progress: Progress,
) -> TrackResult | None:
    """Poses in an object frame at the object's centre with the first frame's axes (the graph's poses move there), and all tracks.

    None when several frames are posed but share no point.
    """
    shift = np.eye(4)
    shift[:3, 3] = -object_centre(rig, points, graph.poses)
    graph.poses = {f: shift @ pose for f, pose in graph.poses.items()}
    tracks = make_tracks(rig, points, graph, object_only, options, workers, progress)
    if tracks.count == 0:
        return _single_view(rig, points, graph.poses) if len(graph.poses) == 1 else None
    tracks, measured, xyz = extended(rig, points, views, tracks, graph.poses, object_only, options)
    refined = refine_tracks(rig, tracks, graph.poses, xyz, *measured, pictures, refinement, progress)
    good = refined.ok & (np.bincount(tracks.point, refined.ok)[tracks.point] >= 2)
    if not good.any():
        return None
    inside, kept, tracks = _inside(points, tracks), np.unique(tracks.point[good]), tracks.only(good, 2)
    uvr, sigma = refined.uvr[good], np.clip(refined.sigma_px[good], LEAST_SIGMA_PX, MOST_SIGMA_PX)
    xyz, residual = locate(rig, tracks, graph.poses, uvr, sigma)
    return TrackResult(graph.poses, tracks.point, tracks.frame, uvr, sigma, xyz, inside[kept], residual)


def _single_view(rig: Rig, points: Mapping[int, FramePoints], poses: dict[int, np.ndarray]) -> TrackResult:
    """A capture of one frame: its own stereo points, one observation each."""
    frame, pose = next(iter(poses.items()))
    p = points[frame].only(np.isfinite(points[frame].u_right))
    n = len(p)
    return TrackResult(
        poses,
        np.arange(n),
        np.full(n, frame),
        p.uvr,
        np.full(n, 0.2),
        transform(pose, p.xyz(rig)),
        p.own.copy(),
        np.zeros((n, 3)),
    )


def _inside(points: Mapping[int, FramePoints], tracks: Tracks) -> np.ndarray:
    """(P,) bool: detected on the object itself by most of the frames whose mask is known."""
    known = (tracks.feature >= 0) & np.array([not points[f].mask_lost for f in tracks.frame.tolist()])
    asked = Tracks(tracks.point[known], tracks.frame[known], tracks.feature[known])
    share = np.bincount(asked.point, gather(points, asked, "own"), tracks.count)
    return share > 0.5 * np.maximum(np.bincount(asked.point, minlength=tracks.count), 1)
