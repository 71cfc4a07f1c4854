"""What `track` hands on: poses with a row for every frame, and tracks with their measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.frames import FramePose
from stages.track.points.frame_points import FramePoints


@dataclass(frozen=True)
class TrackResult:
    """What goes to disk. poses {frame: object_from_left}; observation m is of point `point[m]` in frame `frame[m]` at `uvr[m]` px with
    `sigma_px[m]` and `residual[m]` (3,) px; points `xyz` (P, 3) in the object frame, `inside` (P,) seen on the object."""

    poses: dict[int, np.ndarray]
    point: np.ndarray
    frame: np.ndarray
    uvr: np.ndarray
    sigma_px: np.ndarray
    xyz: np.ndarray
    inside: np.ndarray
    residual: np.ndarray


def pose_rows(
    frame_rows: Iterable[Mapping[str, Any]],
    points: Mapping[int, FramePoints],
    result: TrackResult,
    object_only: bool,
    min_inliers: int,
    reasons: Mapping[int, str],
) -> list[FramePose]:
    """One row per frame of the capture (`frame_rows` of frames.parquet): "ok", "lost" or "unusable", with the reason; `reasons` holds
    those of frames whose motion was seen but not believed."""
    rows = []
    for r in frame_rows:
        frame = r["frame"]
        if r["status"] != "ok":
            rows.append(FramePose(frame, None, "unusable", reason=r["reason"] or r["status"]))
        elif frame not in result.poses:
            rows.append(
                FramePose(
                    frame, None, "lost", reason=reasons.get(frame) or _why_lost(points[frame], object_only, min_inliers)
                )
            )
        else:
            own = result.residual[result.frame == frame]
            rms = float(np.sqrt(np.nanmean(own**2))) if np.isfinite(own).any() else None
            rows.append(FramePose(frame, result.poses[frame], "ok", len(own), rms))
    return rows


def _why_lost(points: FramePoints, object_only: bool, min_inliers: int) -> str:
    if object_only and points.mask_lost:
        return f"its mask was lost or is in doubt, and no other frame's object points were found in it ({len(points)} points looked at)"
    where, count = ("on the object", int(points.own.sum())) if object_only else ("in the picture", len(points))
    return f"no other frame shares {min_inliers} points with it that move as one ({count} points found {where}), nor do their surfaces fit"


def write_tracks(path: Path, result: TrackResult, scope: str) -> None:
    """tracks.npz as in docs/artifacts.md."""
    np.savez_compressed(
        path,
        point_id=result.point.astype(np.int32),
        frame=result.frame.astype(np.int32),
        u=result.uvr[:, 0].astype(np.float32),
        v=result.uvr[:, 1].astype(np.float32),
        u_right=result.uvr[:, 2].astype(np.float32),
        sigma_px=result.sigma_px.astype(np.float32),
        point_xyz=result.xyz.astype(np.float32),
        inside=result.inside,
        scope=np.array(scope),
    )
