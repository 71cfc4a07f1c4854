"""All poses and points refined together, with the stereo rig held rigid; then the object frame is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.base import Resources, Stage, StageContext, StageError, StageReport
from stages.bundle.config import BundleConfig
from stages.bundle.problem import Problem, load
from stages.core.camera import Rig
from stages.core.frames import FramePose, FrameReader, frame_ranges, posed, read_poses, write_poses
from stages.core.geometry.rigid import inverse, rotation_angle
from stages.core.store import ArtifactRef

ROUNDS_OF_ROWS = 2
"""how often the observations are taken to the middle row's time: along the poses before, and along those that come of it"""
FOCAL_WARNING = 0.005
"""share: a focal length that wants to be this different, and ..."""
COST_WARNING = 0.05
"""... share: lowers the cost this much, means a calibration that does not fit the pictures"""


class BundleStage(Stage):
    """Bundle adjustment by Ceres (through pycolmap) with two measured views per point and frame, which fixes the metric scale."""

    name = "bundle"
    version = 7
    needs = Resources(memory_gb=1.5, lower=("self_check_observations",))
    Config = BundleConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "poses_initial.json", "tracks.npz")
    outputs = ("poses.json", "points.npz")

    def check(self, inputs: Mapping[str, ArtifactRef], config: BundleConfig) -> None:
        """At least one posed frame."""
        if not posed(read_poses(inputs["poses_initial.json"].path)):
            raise StageError("no frame has a pose", "see track's report for the reasons")

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: BundleConfig, out: Path, context: StageContext
    ) -> StageReport:
        """See the module docstring."""
        from stages.bundle import object_frame
        from stages.bundle.doubt import doubt, settled
        from stages.core.adjust import adjustment
        from stages.core.adjust.rig_problem import Observations

        rig, data = Rig.load(inputs["rig.json"].path), load(inputs)
        observations = Observations(data.point, data.frame, data.uvr, np.maximum(data.sigma_px, config.sigma_floor_px))
        report = StageReport(method="ceres", reason="poses and points with the rig held, through pycolmap")
        on_points, seen, share = _adjusted(rig, data, observations, config, context)
        doubted = doubt(rig, data, on_points, share, FrameReader.of(inputs), context.workers)
        adjusted = settled(rig, data, on_points, doubted, seen, context.workers)
        report.reason += _of_rows(share) + _of_surfaces(on_points, adjusted)
        change, reason = object_frame.choose_frame(
            np.where(data.aside[:, None], np.nan, adjusted.xyz),
            data.inside,
            inverse(adjusted.left_from_object[0]),
            data.scope == "scene",
            context.seed,
        )
        before = data.poses @ inverse(data.poses[0]) @ adjusted.left_from_object[0] @ inverse(change)
        adjusted = adjustment.in_new_frame(adjusted, change)
        sigmas = adjustment.pose_sigmas(rig, adjusted, observations, np.zeros(3))
        focal = (
            adjustment.focal_check(rig, adjusted, observations, config.robust_sigmas, config.self_check_observations)
            if config.self_check
            else None
        )
        rows = _rows(data, adjusted, config, doubted.why)
        write_poses(out / "poses.json", rows)
        _write_points(out / "points.npz", data, adjusted)
        _fill_report(report, data, adjusted, before, rows, sigmas, focal, reason)
        middle, most = float(np.median(doubted.drift_m)), float(doubted.drift_m.max())
        report.metrics |= {
            "row_time_share": round(share, 4),
            "drift_sigma_median_mm": _round(1000 * middle, 4),
            "drift_sigma_max_mm": _round(1000 * most, 4),
        }
        _draw(report, data, adjusted, out)
        return report


STAGE = BundleStage()


def _adjusted(rig: Rig, data: Problem, observations, config: BundleConfig, context: StageContext):
    """The adjusted poses and points, the observations they come of (at the middle row's time), and the rows' share of a frame's time."""
    from stages.bundle.rolling import at_middle_row
    from stages.core.adjust.adjustment import AdjustOptions, adjust

    if len(data.frames) < 2:
        return _unchanged(data), observations, 0.0
    options = AdjustOptions(
        config.rounds, config.max_iterations, config.robust_sigmas, config.outlier_sigmas, config.outlier_floor_px
    )
    adjusted = adjust(rig, data.poses, len(data.xyz), observations, options, context.progress)
    if adjusted is None:
        raise StageError(
            "bundle adjustment found no solution: fewer than 6 observations agree with each other",
            "the object may have too little texture; see track's report for inliers per frame",
        )
    seen, share = observations, _row_share(rig, adjusted, observations, data.frames, config)
    for _ in range(ROUNDS_OF_ROWS if share else 0):
        seen = at_middle_row(rig, adjusted, observations, data.frames, share)
        again = adjust(rig, adjusted.left_from_object, len(data.xyz), seen, options, context.progress)
        adjusted = again or adjusted
    return adjusted, seen, share


def _row_share(rig: Rig, adjusted, observations, numbers: list[int], config: BundleConfig) -> float:
    from stages.bundle.rolling import row_share

    if not config.rolling_rows:
        return 0.0
    return row_share(rig, adjusted, observations, numbers, config.robust_sigmas, config.self_check_observations)


def _of_rows(share: float) -> str:
    if not share:
        return ""
    first = "top" if share > 0 else "bottom"
    return f"; rows are read one after another from the {first}, in {abs(share):.1%} of a frame's time: poses are the middle row's"


def _of_surfaces(on_points, refined) -> str:
    if refined is on_points:
        return ""
    moved = np.linalg.norm(
        inverse(refined.left_from_object)[:, :3, 3] - inverse(on_points.left_from_object)[:, :3, 3], axis=1
    )
    return f"; what points left open was refined on the frames' surfaces, which moved cameras by up to {1000 * moved.max():.1f} mm"


def _unchanged(data: Problem):
    """A capture of one frame has nothing to adjust: its points stay as stereo measured them."""
    from stages.core.adjust.adjustment import Adjusted

    all_used, n = np.ones(len(data.point), bool), len(data.point)
    return Adjusted(data.poses, data.xyz, np.zeros((n, 3)), all_used, np.isfinite(data.uvr[:, 2]), 0.0, 0)


def _rows(data: Problem, adjusted, config: BundleConfig, doubted: Mapping[int, str]) -> list[FramePose]:
    place = {f: k for k, f in enumerate(data.frames)}
    rows = []
    for r in data.rows:
        if r.frame not in place:
            rows.append(r)
            continue
        k = place[r.frame]
        own = (data.frame == k) & adjusted.use_left
        count, rms = int(own.sum()), _rms(adjusted, own)
        weak = count < config.min_observations
        few = f"rests on {count} points seen in other frames too" if weak and len(data.frames) > 1 else ""
        reason = few or doubted.get(r.frame, "")
        rows.append(
            FramePose(
                r.frame, inverse(adjusted.left_from_object[k]), "uncertain" if reason else "ok", count, rms, reason
            )
        )
    return rows


def _rms(adjusted, rows: np.ndarray) -> float | None:
    """Root mean square of the coordinates used, px."""
    r = adjusted.residual[rows]
    values = np.concatenate([r[:, :2].ravel(), r[adjusted.use_right[rows], 2]])
    return float(np.sqrt(np.mean(values**2))) if len(values) else None


def _write_points(path: Path, data: Problem, adjusted) -> None:
    """The object's points under `xyz`; what else of the scene was reconstructed under `scene_xyz`."""
    count = np.bincount(data.point[adjusted.use_left], minlength=len(data.xyz))
    square = np.bincount(
        data.point[adjusted.use_left], (adjusted.residual[adjusted.use_left, :2] ** 2).mean(1), minlength=len(data.xyz)
    )
    known = np.isfinite(adjusted.xyz).all(1)
    own = known & data.inside
    rms = np.sqrt(square / np.maximum(count, 1))
    np.savez_compressed(
        path,
        xyz=adjusted.xyz[own],
        observations=count[own].astype(np.int32),
        rms_px=rms[own].astype(np.float32),
        scene_xyz=adjusted.xyz[known & ~data.inside & ~data.aside],
    )


def _fill_report(
    report: StageReport, data: Problem, adjusted, before: np.ndarray, rows: list[FramePose], sigmas, focal, reason: str
) -> None:
    turn, shift = [], []
    for old, new in zip(before, adjusted.left_from_object, strict=True):
        turn.append(np.degrees(rotation_angle(old @ inverse(new))))
        shift.append(1000 * float(np.linalg.norm(old[:3, 3] - new[:3, 3])))
    counts = [r.inliers for r in rows if r.object_from_left is not None]
    report.frames = {s: sum(r.status == s for r in rows) for s in ("ok", "uncertain", "lost", "unusable")}
    report.metrics = {
        "rms_px": _round(_rms(adjusted, adjusted.use_left), 4),
        "observations": int(adjusted.use_left.sum()),
        "observations_right": int(adjusted.use_right.sum()),
        "outliers_share": _round(1 - float(adjusted.use_left.mean()) if len(adjusted.use_left) else 0.0, 4),
        "cost_variances": _round(adjusted.cost, 3),
        "iterations": adjusted.iterations,
        "points_object": int((np.isfinite(adjusted.xyz).all(1) & data.inside).sum()),
        "points": int(np.isfinite(adjusted.xyz).all(1).sum()),
        "inliers_median": int(np.median(counts)),
        "inliers_min": int(min(counts)),
        "drift_closed_deg": _round(max(turn), 4),
        "drift_closed_mm": _round(max(shift), 4),
        "pose_sigma_median_deg": _round(np.degrees(_median(sigmas[0])), 5),
        "pose_sigma_median_mm": _round(1000 * _median(sigmas[1]), 4),
        "focal_change_percent": focal and _round(100 * focal[0], 3),
        "focal_cost_change_percent": focal and _round(100 * focal[1], 2),
        "object_frame": reason,
    }
    for status, text in (("uncertain", "have an uncertain pose"), ("lost", "have no pose")):
        found = [r for r in rows if r.status == status]
        if found:
            report.warnings.append(
                f"{len(found)} frames {text}: {frame_ranges([r.frame for r in found])} ({found[0].reason})."
            )
    if focal and abs(focal[0]) > FOCAL_WARNING and focal[1] > COST_WARNING:
        report.warnings.append(
            f"The calibration looks off: the pictures fit {100 * focal[1]:.0f} % better with a focal length {100 * focal[0]:+.1f} % "
            "from the given one. It was not changed; calibrate again if size matters."
        )


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def _draw(report: StageReport, data: Problem, adjusted, out: Path) -> None:
    from stages.core.images import write_rgb
    from stages.core.path_picture import draw_camera_path

    own = adjusted.xyz[data.inside] if data.inside.any() else adjusted.xyz
    poses = {f: inverse(adjusted.left_from_object[k]) for k, f in enumerate(data.frames)}
    write_rgb(out / "pictures" / "path.jpg", draw_camera_path(poses, own), 88)
    report.pictures.append(
        (
            "Path of the left camera (red: first frame) round the object's points, after bundle adjustment",
            "pictures/path.jpg",
        )
    )
