"""Poses of an object that turns on a support with marks: a sheet with dots, a marker board, a printed plate. In place of track and bundle.

Depth shows the support's plane, the plane seen from above shows its marks in metres, and their pattern tells how it was turned, by however
much from picture to picture. The object's own surface then has to agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.base import Resources, Stage, StageContext, StageError, StageReport
from stages.core.camera import Rig
from stages.core.frames import FramePose, FrameReader, write_poses
from stages.core.store import ArtifactRef
from stages.turntable.config import TurntableConfig

if TYPE_CHECKING:
    from stages.turntable.constellation import Turn
    from stages.turntable.support_view import SupportView
    from stages.turntable.surface_check import SurfaceWord

GAPS = (1, 2, 3)
"""frames apart that are compared; the last with the first too, as a turntable comes round"""
ADVICE = ("lay a sheet with a dozen small dots at random under the object, all round it, and turn it with the object; see "
          "turntable.mark_mm and turntable.contrast")  # fmt: skip


class TurntableStage(Stage):
    """See the module."""

    name = "turntable"
    version = 1
    needs = Resources(memory_gb=1.0)
    Config = TurntableConfig
    inputs = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "masks.parquet")
    outputs = ("poses.json", "points.npz")

    def check(self, inputs: Mapping[str, ArtifactRef], config: TurntableConfig) -> None:
        """Two usable frames."""
        if len(FrameReader.of(inputs).ids) < 2:
            raise StageError(
                "fewer than two frames of the capture can be used", "see the reasons in the report of the stage before"
            )

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: TurntableConfig, out: Path, context: StageContext
    ) -> StageReport:
        """Raises StageError where marks tell no turn, or the surface denies it."""
        from stages.turntable import surface_check
        from stages.turntable.constellation import pattern_of

        rig, reader = Rig.load(inputs["rig.json"].path), FrameReader.of(inputs)
        views = _views(rig, reader, config, context)
        turns = _turns(views, config, context)
        motions, missed = pattern_of(turns, {f: v.marks for f, v in views.items()}, 1e-3 * config.tolerance_mm)
        kept = {f for f in motions if _found(missed[f], config) >= config.min_marks}
        if len(kept) < 2:
            raise StageError(f"the marks on the support tell no turn: {_counts(views)}", ADVICE)
        poses = _poses({f: views[f] for f in sorted(kept)}, motions)
        word = surface_check.ask_surface(rig, reader, poses, context)
        surface_check.refuse_contradiction(word, config)
        rows = _rows(reader, poses, views, missed, config=config)
        write_poses(out / "poses.json", rows)
        _write_points(out / "points.npz", {f: views[f] for f in poses}, poses)
        return _report(rows, turns, poses, missed, word=word, config=config)


STAGE = TurntableStage()


def _views(rig: Rig, reader: FrameReader, config: TurntableConfig, context: StageContext) -> dict[int, SupportView]:
    from stages.core.parallel import ordered_map
    from stages.turntable.support_view import look_down

    def one(f: int) -> SupportView | None:
        return look_down(
            f, rig, reader.gray(f), reader.mask(f), disparity=reader.disparity_px(f), config=config, seed=context.seed
        )

    views = {}
    for k, view in enumerate(ordered_map(one, reader.ids, context.workers)):
        if view is not None:
            views[view.frame] = view
        context.progress(k + 1, 2 * len(reader.ids), "looking down on the support")
    if len(views) < 2:
        raise StageError(
            f"a plane under the object is seen in {len(views)} of {len(reader.ids)} frames",
            "the support must be seen round the object, with depth; check the masks",
        )
    return views


def _turns(views: Mapping[int, SupportView], config: TurntableConfig, context: StageContext) -> list[Turn]:
    """Those that enough marks tell, and clearly better than another."""
    from stages.core.parallel import ordered_map
    from stages.turntable.constellation import find_turn

    frames = sorted(views)
    pairs = sorted(
        {(frames[i], frames[(i + g) % len(frames)]) for i in range(len(frames)) for g in GAPS if len(frames) > g}
    )
    pairs = sorted({(min(p), max(p)) for p in pairs})
    tolerance = 1e-3 * config.tolerance_mm
    found = ordered_map(
        lambda p: find_turn(*p, views[p[0]].marks, views[p[1]].marks, tolerance), pairs, context.workers
    )
    return [
        t
        for t in found
        if t is not None and len(t.pairs) >= config.min_marks and t.rival <= config.max_rival * len(t.pairs)
    ]


def _found(missed: np.ndarray, config: TurntableConfig) -> int:
    with np.errstate(invalid="ignore"):
        return int((missed < 1e-3 * config.tolerance_mm).sum())


def _poses(views: Mapping[int, SupportView], motions: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """{frame: object_from_left}: y down along the support's normal, the origin in the object's middle."""
    from stages.core.geometry.rigid import transform

    poses = {}
    for f, view in views.items():
        pattern_from_support = np.eye(4)
        pattern_from_support[np.ix_((0, 2), (0, 2))] = motions[f][:2, :2]
        pattern_from_support[[0, 2], 3] = motions[f][:2, 2]
        poses[f] = pattern_from_support @ view.support_from_left
    points = np.concatenate([transform(poses[f], v.own) for f, v in views.items()])
    low, high = np.percentile(points, (3, 97), axis=0)
    centred = np.eye(4)
    centred[:3, 3] = -(low + high) / 2
    return {f: centred @ p for f, p in poses.items()}


def _rows(
    reader: FrameReader, poses: Mapping, views: Mapping[int, SupportView], missed: Mapping, config: TurntableConfig
) -> list[FramePose]:
    rows = []
    for r in reader.rows:
        f = r["frame"]
        if r["status"] != "ok":
            rows.append(FramePose(f, None, "unusable", reason=r["reason"] or r["status"]))
        elif f in poses:
            rows.append(FramePose(f, poses[f], "ok", _found(missed[f], config)))
        else:
            seen = (
                f"{len(views[f].marks)} marks are seen on the support"
                if f in views
                else "no plane is seen under the object"
            )
            rows.append(
                FramePose(f, None, "lost", reason=f"{seen}, and {config.min_marks} must be those of other frames")
            )
    return rows


def _write_points(path: Path, views: Mapping[int, SupportView], poses: Mapping[int, np.ndarray]) -> None:
    """The object's points by depth, thinned; the support round it under `scene_xyz`."""
    from stages.core.geometry.rigid import transform

    step = max(1, sum(len(v.own) for v in views.values()) // 20_000)
    own = np.concatenate([transform(poses[f], v.own[::step]) for f, v in views.items()])
    low, high = np.percentile(own, (1, 99), axis=0)
    own = own[((own >= low) & (own <= high)).all(1)]
    scene = np.concatenate([transform(poses[f], v.around[:: 4 * step]) for f, v in views.items()])
    np.savez_compressed(
        path,
        xyz=own,
        observations=np.ones(len(own), np.int32),
        rms_px=np.full(len(own), np.nan, np.float32),
        scene_xyz=scene,
    )


def _counts(views: Mapping[int, SupportView]) -> str:
    counts = [len(v.marks) for v in views.values()]
    return f"{min(counts)} to {max(counts)} marks are seen in a frame, and no two frames share a pattern of them that fits in one way only"


def _report(
    rows: list[FramePose],
    turns: list[Turn],
    poses: Mapping,
    missed: Mapping,
    word: SurfaceWord,
    config: TurntableConfig,
) -> StageReport:
    good = np.concatenate([m[m < 1e-3 * config.tolerance_mm] for f, m in missed.items() if f in poses])
    frames = sorted(poses)
    neighbours = [abs(np.degrees(_turned(poses[a], poses[b]))) for a, b in itertools.pairwise(frames)]
    report = StageReport(method="marks on the support", reason="the pattern of marks turns with the object")
    report.frames = {s: sum(r.status == s for r in rows) for s in ("ok", "lost", "unusable")}
    report.metrics = {
        "marks_median": float(np.median([r.inliers for r in rows if r.status == "ok"])),
        "marks_min": int(min(r.inliers for r in rows if r.status == "ok")),
        "marks_missed_rms_mm": round(1e3 * float(np.sqrt(np.mean(good**2))), 3),
        "turns_found": len(turns),
        "best_other_turn_share": round(max(t.rival / len(t.pairs) for t in turns), 3),
        "turn_between_frames_deg": f"{min(neighbours):.1f} to {max(neighbours):.1f}",
        "surface_floating_share": round(word.floating, 4),
        "surface_floating_share_worst_frame": round(word.worst, 4),
        "look_of_near_views": round(word.look, 3) if np.isfinite(word.look) else None,
        "object_frame": "y points down, along the normal of the plane that the object stands on",
    }
    if lost := [r for r in rows if r.status == "lost"]:
        report.warnings.append(
            f"{len(lost)} frames have no pose: {', '.join(str(r.frame) for r in lost[:10])} ({lost[0].reason})."
        )
    return report


def _turned(a: np.ndarray, b: np.ndarray) -> float:
    from stages.core.geometry.rigid import inverse, rotation_angle

    return rotation_angle(inverse(a) @ b)
