"""Where the camera was, frame by frame, relative to the object: features, metric motions between frames, multi-view tracks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import Resources, StageContext, StageError, StageReport
from stages.core.camera import Rig
from stages.core.frames import FramePose, FrameReader, read_table, write_poses
from stages.core.geometry.rigid import transform
from stages.core.store import ArtifactRef
from stages.track.config import TrackConfig

log = logging.getLogger(__name__)
MAX_SKETCH_PX = 480
"""width at which pictures of the report are drawn"""


@dataclass(frozen=True)
class _Result:
    """What goes to disk: poses, tracks with their measurements, points."""

    poses: dict[int, np.ndarray]
    point: np.ndarray
    frame: np.ndarray
    uvr: np.ndarray
    sigma_px: np.ndarray
    xyz: np.ndarray
    inside: np.ndarray
    residual: np.ndarray


class TrackStage:
    """Camera poses relative to the object from matched features, metric through stereo."""

    name = "track"
    version = 1
    needs = Resources(memory_gb=1.5)
    Config = TrackConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "masks.parquet")
    outputs = ("poses_initial.json", "tracks.npz")

    def check(self, inputs: Mapping[str, ArtifactRef], config: TrackConfig) -> None:
        """At least one usable frame."""
        if not any(r["status"] == "ok" for r in read_table(inputs["frames.parquet"].path)):
            raise StageError("no frame of the capture can be used", "see the reasons in rectify's report")

    def run(self, inputs: Mapping[str, ArtifactRef], config: TrackConfig, out: Path, context: StageContext) -> StageReport:
        """See the module docstring; every frame gets a row in poses_initial.json, posed or not."""
        from stages.track import tracking
        from stages.track.linking import LinkOptions, link_frames
        from stages.track.scope import decide_scope
        from stages.track.view_graph import PairOptions

        rig, reader = Rig.load(inputs["rig.json"].path), FrameReader.of(inputs)
        points, views = _measure(rig, reader, read_table(inputs["masks.parquet"].path), config, context)
        pair = PairOptions(config.ratio, config.max_error_px, config.min_inliers, context.seed + 1)
        strong = replace(pair, min_inliers=config.strong_inliers)
        scope, reason, votes = decide_scope(rig, points, strong) if config.scope == "auto" else (config.scope, "set by track.scope", [])
        report = StageReport(method="sift", reason=f"scope {scope}: {reason}")
        link = LinkOptions(config.neighbour_gaps, np.radians(config.keyframe_step_deg), config.alike_pairs_per_frame, config.strong_inliers)
        graph = link_frames(rig, points, views, scope == "object", pair, link, context.workers, context.progress)
        _refuse_nonsense(points, graph.poses, scope, config)
        drift = tracking.loop_discrepancy(rig, graph.poses, graph.loops, points)
        result = _build(rig, points, views, graph, scope == "object", drift, reader, config, context)
        rows = _rows(reader, points, result, scope == "object", config)
        write_poses(out / "poses_initial.json", rows)
        _write_tracks(out / "tracks.npz", result, scope)
        _fill_report(report, rig, points, graph, result, rows, scope, len(votes), drift)
        _draw(report, reader, points, graph, result, out)
        return report


STAGE = TrackStage()


def _measure(rig: Rig, reader: FrameReader, mask_rows: list[dict[str, Any]], config: TrackConfig, context: StageContext) -> tuple[dict, dict]:
    """{frame: FramePoints} and {frame: DenseView} of every usable frame, streamed."""
    from stages.core.parallel import ordered_map
    from stages.track.dense_view import small_view
    from stages.track.features import METHODS
    from stages.track.frame_points import MeasureOptions, measure_frame

    method = METHODS["sift" if config.method == "auto" else config.method](config.contrast)
    options = MeasureOptions(config.max_points_inside, config.max_points_outside, config.max_width_px, config.min_correlation)
    lost = {r["frame"] for r in mask_rows if r["status"] == "lost"}

    def measure(frame: int):
        mask, disparity, sigma, left = reader.mask(frame), reader.disparity_px(frame), reader.sigma_px(frame), reader.gray(frame)
        if frame in lost:
            mask = np.zeros_like(mask)
        points = measure_frame(frame, left, reader.gray(frame, "right"), mask, not mask.any(), disparity, sigma, method, options)
        return points, small_view(rig, left, disparity, sigma, mask)

    points, views = {}, {}
    for done, (p, v) in enumerate(ordered_map(measure, reader.ids, context.workers)):
        points[p.frame], views[p.frame] = p, v
        context.progress(done + 1, len(reader.ids), "finding points")
    return points, views


def _refuse_nonsense(points: dict, poses: dict, scope: str, config: TrackConfig) -> None:
    """Raises StageError when no two frames could be tied together."""
    if len(points) > 1 and len(poses) < 2:
        inside = int(np.median([(np.isfinite(p.u_right) & (p.inside | (scope == "scene"))).sum() for p in points.values()]))
        where = "on the object" if scope == "object" else "in the scene"
        raise StageError(f"too few features: no two of {len(points)} frames share {config.min_inliers} points that move as one "
                         f"(median {inside} points measured by both eyes {where} per frame)",
                         "the object may have no texture, or the frames may be too far apart: add texture (stickers, a patterned base that turns "
                         "with the object), more light or more frames; check the masks; lower track.min_inliers only to experiment")


def _build(rig: Rig, points: dict, views: dict, graph, object_only: bool, drift, reader: FrameReader, config: TrackConfig,
           context: StageContext) -> _Result:
    """Tracks over all posed frames, aligned to sub-pixel, in an object frame at the object's centre with the first camera's axes."""
    from stages.track import tracking
    from stages.track.linking import object_centre
    from stages.track.multiview_tracks import locate
    from stages.track.track_refinement import RefineOptions, refine_tracks

    shift = np.eye(4)
    shift[:3, 3] = -object_centre(rig, points, graph.poses)
    graph.poses = {f: shift @ pose for f, pose in graph.poses.items()}
    widest = 5 * config.guided_radius_px
    radius = config.guided_radius_px if drift is None else float(np.clip(2 * drift[2], config.guided_radius_px, widest))
    options = tracking.TrackOptions(config.track_pairs_per_frame, np.radians(config.track_max_angle_deg), radius, config.ratio, config.max_error_px,
                                    config.max_observations, config.enough_observations)
    tracks = tracking.make_tracks(rig, points, graph, object_only, options, context.workers, context.progress)
    if tracks.count == 0:
        return _single_view(rig, points, graph.poses)
    inside = _inside_share(points, tracks)
    tracks, measured, xyz = tracking.extended(rig, points, views, tracks, graph.poses, object_only, options)
    limits = RefineOptions(config.min_correlation, config.max_shift_px, config.max_shift_predicted_px, context.workers)
    refined = refine_tracks(rig, tracks, graph.poses, xyz, *measured, reader.gray, limits, context.progress)
    good = refined.ok & (np.bincount(tracks.point, refined.ok)[tracks.point] >= 2)
    kept, tracks = np.unique(tracks.point[good]), tracks.only(good, 2)
    uvr, sigma = refined.uvr[good], np.clip(refined.sigma_px[good], 0.05, 2.0)
    xyz, residual = locate(rig, tracks, graph.poses, uvr, sigma)
    return _Result(graph.poses, tracks.point, tracks.frame, uvr, sigma, xyz, inside[kept], residual)


def _single_view(rig: Rig, points: dict, poses: dict[int, np.ndarray]) -> _Result:
    """A capture of one frame: its own stereo points, one observation each."""
    frame = next(iter(poses))
    p = points[frame].only(np.isfinite(points[frame].u_right))
    n = len(p)
    return _Result(poses, np.arange(n), np.full(n, frame), p.uvr, np.full(n, 0.2), transform(poses[frame], p.xyz(rig)), p.inside.copy(), np.zeros((n, 3)))


def _inside_share(points: dict, tracks) -> np.ndarray:
    """(P,) bool: seen inside the mask by most of the frames whose mask is known."""
    from stages.track.multiview_tracks import gather

    known = np.array([not points[f].mask_lost for f in tracks.frame.tolist()])
    inside = gather(points, tracks, "inside") & known
    return np.bincount(tracks.point, inside, tracks.count) > 0.5 * np.maximum(np.bincount(tracks.point, known, tracks.count), 1)


def _rows(reader: FrameReader, points: dict, result: _Result, object_only: bool, config: TrackConfig) -> list[FramePose]:
    rows = []
    for r in reader.rows:
        frame = r["frame"]
        if r["status"] != "ok":
            rows.append(FramePose(frame, None, "unusable", reason=r["reason"] or r["status"]))
        elif frame not in result.poses:
            p = points[frame]
            seen = int((p.inside | (not object_only) | p.mask_lost).sum())
            why = "its mask was lost and " if p.mask_lost else ""
            rows.append(FramePose(frame, None, "lost", reason=f"{why}no other frame shares {config.min_inliers} points with it that move as one ({seen} points found)"))
        else:
            own = result.residual[result.frame == frame]
            rms = float(np.sqrt(np.nanmean(own**2))) if np.isfinite(own).any() else None
            rows.append(FramePose(frame, result.poses[frame], "ok", len(own), rms))
    return rows


def _write_tracks(path: Path, result: _Result, scope: str) -> None:
    np.savez_compressed(path, point_id=result.point.astype(np.int32), frame=result.frame.astype(np.int32), u=result.uvr[:, 0].astype(np.float32),
                        v=result.uvr[:, 1].astype(np.float32), u_right=result.uvr[:, 2].astype(np.float32), sigma_px=result.sigma_px.astype(np.float32),
                        point_xyz=result.xyz.astype(np.float32), inside=result.inside, scope=np.array(scope))


def _fill_report(report: StageReport, rig: Rig, points: dict, graph, result: _Result, rows: list[FramePose], scope: str, votes: int, drift) -> None:
    from stages.track import tracking

    length = np.bincount(result.point) if len(result.point) else np.zeros(1)
    posed = [r for r in rows if r.status == "ok"]
    inside = [int(p.inside.sum()) for p in points.values()]
    report.frames = {s: sum(r.status == s for r in rows) for s in ("ok", "lost", "unusable")}
    report.metrics = {
        "scope": scope, "scope_votes": votes, "points_inside_median": int(np.median(inside)), "points_median": int(np.median([len(p) for p in points.values()])),
        "keyframes": len(graph.keyframes), "pairs_linked": len(graph.edges), "loops": len(graph.loops),
        "loop_gap_deg": drift and round(drift[0], 4), "loop_gap_mm": drift and round(drift[1], 4), "loop_gap_px": drift and round(drift[2], 3),
        "full_turn": int(tracking.full_turn(result.poses, np.zeros(3))), "tracks": len(result.xyz), "tracks_inside": int(result.inside.sum()),
        "observations": len(result.point), "track_length_mean": round(float(length.mean()), 2),
        "rms_px": round(float(np.sqrt(np.nanmean(result.residual**2))), 4) if len(result.residual) else None,
        "inliers_min": min((r.inliers for r in posed), default=0)}
    if len(points) == 1:
        report.warnings.append("The capture has one frame: its pose is the identity, and only the side it shows can be reconstructed.")
    lost = [r.frame for r in rows if r.status == "lost"]
    if lost:
        parts = tracking.part_sizes(sorted(points), graph.edges)[1:]
        more = f" The largest group of them that fits together has {parts[0]} frames." if parts and parts[0] > 1 else ""
        report.warnings.append(f"{len(lost)} of {len(points)} frames could not be posed: {_ranges(lost)}.{more} Their reasons stand in poses_initial.json.")
    without = [f for f, p in points.items() if p.mask_lost]
    if without and scope == "object":
        report.warnings.append(f"{len(without)} frames had no mask ({_ranges(without)}); they were posed by the object's points in other frames.")
    weak = [r.frame for r in posed if r.inliers < 50]
    if weak and len(points) > 1:
        report.warnings.append(f"{len(weak)} frames rest on fewer than 50 points: {_ranges(weak)}. Their poses are less certain.")


def _draw(report: StageReport, reader: FrameReader, points: dict, graph, result: _Result, out: Path) -> None:
    from stages.core.images import write_rgb
    from stages.core.path_picture import draw_camera_path
    from stages.track.pictures import draw_matches

    folder = out / "pictures"
    if graph.edges:
        e = sorted(graph.edges, key=lambda e: (e.inliers, e.a))[len(graph.edges) // 2]
        pair = draw_matches(reader.rgb(e.a), reader.rgb(e.b), points[e.a].uv[e.matches[:, 0]], points[e.b].uv[e.matches[:, 1]])
        write_rgb(folder / "matches.jpg", pair, 80)
        report.pictures.append((f"Points that agree on one motion, frames {e.a} and {e.b} ({e.inliers}; lines show 150)", "pictures/matches.jpg"))
    cloud = result.xyz[result.inside] if result.inside.any() else result.xyz
    write_rgb(folder / "path.jpg", draw_camera_path(result.poses, cloud), 88)
    report.pictures.append(("Path of the left camera round the object's points, before bundle adjustment", "pictures/path.jpg"))


def _ranges(frames: list[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    parts: list[list[int]] = []
    for f in frames:
        if parts and f == parts[-1][1] + 1:
            parts[-1][1] = f
        else:
            parts.append([f, f])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
