"""Where the camera was, frame by frame, relative to the object: features, metric motions between frames, multi-view tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.base import Resources, Stage, StageContext, StageError, StageReport
from stages.core.camera import Rig
from stages.core.frames import FrameReader, read_table, write_poses
from stages.core.store import ArtifactRef
from stages.core.weights import identity
from stages.track import methods
from stages.track.config import TrackConfig

if TYPE_CHECKING:
    from stages.track.points.features import FeatureMethod, Likeness
    from stages.track.tracks.track_refinement import PictureSource


MOVED = "the object is moved in the scene during the capture, as the masks' runs of rest say"
STILL = "the camera keeps still, as the masks say"


class TrackStage(Stage):
    """Camera poses relative to the object from matched features, metric through stereo."""

    name = "track"
    version = 7
    needs = Resources(memory_gb=1.5, lower=("max_width_px", "max_points_inside", "max_observations"))
    Config = TrackConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "masks.parquet")
    outputs = ("poses_initial.json", "tracks.npz")

    def check(self, inputs: Mapping[str, ArtifactRef], config: TrackConfig) -> None:
        """At least one usable frame, and what the method needs. Raises StageError, ConfigError, WeightsError."""
        methods.check(config)
        if not any(r["status"] == "ok" for r in read_table(inputs["frames.parquet"].path)):
            raise StageError("no frame of the capture can be used", "see the reasons in rectify's report")

    def auto_choice(self, config: TrackConfig) -> tuple[str, str]:
        """The method that will be used, and why."""
        return methods.choice(config)

    def needs_weights(self, config: TrackConfig) -> tuple[str, ...]:
        """Names in weights/registry.yaml."""
        return methods.needs_weights(config)

    def weights_used(self, config: TrackConfig) -> dict[str, str]:
        """Digests of the weights and of how they are fed. Raises WeightsError when they are not there."""
        return {k: v for name in methods.needs_weights(config) for k, v in identity(name).items()}

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: TrackConfig, out: Path, context: StageContext
    ) -> StageReport:
        """See the module docstring; every frame gets a row in poses_initial.json, posed or not."""
        from stages.track.links.credibility import LinkOptions
        from stages.track.links.grip import with_grip
        from stages.track.links.held_views import held_views
        from stages.track.links.linking import link_frames
        from stages.track.links.lost_masks import recover
        from stages.track.links.scope import decide_scope
        from stages.track.links.view_graph import PairOptions
        from stages.track.reporting import draw, figures, warnings
        from stages.track.tracks import tracking
        from stages.track.tracks.assembly import assemble
        from stages.track.tracks.result import pose_rows, write_tracks

        rig, reader = Rig.load(inputs["rig.json"].path), FrameReader.of(inputs)
        features, matcher = methods.build(config, context.device, rig.width, rig.height, reader.rgb)
        table = read_table(inputs["masks.parquet"].path)
        points, views = _measure(rig, reader, table, features, config, context)
        pair = PairOptions(matcher, config.max_error_px, config.min_inliers, context.seed + 1)
        strong = replace(pair, min_inliers=config.strong_inliers)
        scope, reason, votes = config.scope, "set by track.scope", []
        if config.scope == "auto":
            scope, reason, votes = _said_by_masks(table) or decide_scope(rig, points, strong)
        report = StageReport(method=self.auto_choice(config)[0], reason=f"scope {scope}: {reason}")
        held = None
        without_mask = [f for f, p in points.items() if p.mask_lost]
        if scope == "object":
            small, views = views, _closer(rig, reader, points, views, context.workers)
            points, _ = recover(rig, points, views, strong)
            grip = with_grip(rig, points, pair, features.likeness.max_distance, context.workers)
            points = grip.points
            held = held_views(rig, points, small, views) if grip.holds else None
            report.metrics |= {"grip_pairs_for": grip.together, "grip_pairs_against": grip.apart}
        else:
            points = {f: p.first(config.max_points_inside + config.max_points_outside) for f, p in points.items()}
        link = LinkOptions(
            config.neighbour_gaps,
            np.radians(config.keyframe_step_deg),
            config.alike_pairs_per_frame,
            features.likeness.alike_ratio,
            features.likeness.max_distance,
            config.strong_inliers,
        )
        graph = link_frames(rig, points, views, scope == "object", pair, link, context.workers, context.progress, held)
        points, views = graph.points, graph.views
        if len(points) > 1 and len(graph.poses) < 2:
            raise _too_few(points, scope, config)
        drift = tracking.loop_discrepancy(rig, graph.poses, graph.loops, points)
        result = assemble(
            rig,
            points,
            views,
            graph,
            scope == "object",
            *_options(config, features.likeness, drift, context),
            _pictures(reader),
            context.workers,
            context.progress,
        )
        if result is None:
            raise _too_few(points, scope, config)
        reasons = {f: j.reason for j in graph.jumps for f in j.frames} | graph.contradicted
        rows = pose_rows(reader.rows, points, result, scope == "object", config.min_inliers, reasons)
        write_poses(out / "poses_initial.json", rows)
        write_tracks(out / "tracks.npz", result, scope)
        report.frames = {s: sum(r.status == s for r in rows) for s in ("ok", "lost", "unusable")}
        report.metrics |= {"scope": scope, "scope_votes": len(votes), **figures(points, graph, result, drift)}
        report.warnings = warnings(points, graph, rows, without_mask if scope == "object" else [])
        draw(report, reader, points, graph, result, out)
        return report


STAGE = TrackStage()


def _said_by_masks(table: list[dict[str, Any]]) -> tuple[str, str, list] | None:
    """Scope, reason and no votes, where the masks have found out what moves."""
    if len({row.get("rest", 0) for row in table}) > 1:
        return "object", MOVED, []
    if table and all(row.get("camera_still") for row in table):
        return "object", STILL, []
    return None


def _measure(
    rig: Rig,
    reader: FrameReader,
    mask_rows: list[dict[str, Any]],
    method: FeatureMethod,
    config: TrackConfig,
    context: StageContext,
) -> tuple[dict, dict]:
    """{frame: FramePoints} and {frame: DenseView} of every usable frame, streamed."""
    from stages.core.dense.view import small_view
    from stages.core.parallel import ordered_map
    from stages.track.points.frame_points import MeasureOptions, measure_frame

    options = MeasureOptions(
        config.max_points_inside, config.max_points_outside, config.max_width_px, config.min_correlation
    )
    lost = {r["frame"] for r in mask_rows if r["status"] == "lost"}

    def measure(frame: int):
        mask, disparity, sigma, left = (
            reader.mask(frame),
            reader.disparity_px(frame),
            reader.sigma_px(frame),
            reader.gray(frame),
        )
        if frame in lost:
            mask = np.zeros_like(mask)
        picture = reader.rgb(frame) if method.colour else left
        right = reader.gray(frame, "right") if reader.has_right else None
        points = measure_frame(frame, picture, left, right, mask, not mask.any(), disparity, sigma, method, options)
        return points, small_view(rig, left, disparity, sigma, mask)

    points, views = {}, {}
    for done, (p, v) in enumerate(ordered_map(measure, reader.ids, context.workers)):
        points[p.frame], views[p.frame] = p, v
        context.progress(done + 1, len(reader.ids), "finding points")
    return points, views


def _pictures(reader: FrameReader) -> PictureSource:
    """The pictures of both eyes, or of one and its measured depth."""
    from stages.track.tracks.track_refinement import PictureSource

    depth = None if reader.has_right else lambda k: (reader.disparity_px(k), reader.sigma_px(k))
    return PictureSource(reader.gray, depth)


def _closer(rig: Rig, reader: FrameReader, points: dict, views: dict, workers: int) -> dict:
    """{frame: DenseView} with small objects seen from nearer: nothing but the object tells its motion."""
    from stages.core.dense.view import LEAST_SIDE, close_view_of, longest_side
    from stages.core.parallel import ordered_map

    small = [f for f, v in views.items() if not points[f].mask_lost and longest_side(v.mask) < LEAST_SIDE]
    return views | dict(ordered_map(lambda f: (f, close_view_of(rig, reader, f)), small, workers))


def _too_few(points: dict, scope: str, config: TrackConfig) -> StageError:
    """What to say when frames could not be tied together."""
    seen = int(np.median([(np.isfinite(p.u_right) & (p.inside | (scope == "scene"))).sum() for p in points.values()]))
    where = "on the object" if scope == "object" else "in the scene"
    return StageError(
        f"too few features: no two of {len(points)} frames share {config.min_inliers} points that move as one "
        f"(median {seen} points measured by both eyes {where} per frame)",
        "the object may have no texture, or the frames may be too far apart: add texture (stickers, a patterned base that turns with "
        "the object), more light or more frames; check the masks. A depth camera takes wide steps if marks turn with the object: "
        "--route turntable (docs/rgbd.md)",
    )


def _options(
    config: TrackConfig, likeness: Likeness, drift: tuple[float, float, float] | None, context: StageContext
) -> tuple:
    """Options of the tracks and of their refinement; the search widens to what loops showed as drift."""
    from stages.track.tracks.track_refinement import RefineOptions
    from stages.track.tracks.tracking import TrackOptions

    least = config.guided_radius_px
    tracks = TrackOptions(
        config.track_pairs_per_frame,
        np.radians(config.track_max_angle_deg),
        least if drift is None else float(np.clip(2 * drift[2], least, 5 * least)),
        likeness,
        config.max_error_px,
        config.max_observations,
        config.enough_observations,
    )
    return tracks, RefineOptions(
        config.min_correlation, config.max_shift_px, config.max_shift_predicted_px, context.workers
    )
