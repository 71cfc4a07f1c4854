"""Two finished sessions of one object as one: its place in the second is found by features and confirmed by surfaces.

Each session keeps its own tracks, also of what stood round the object then; points of the object that both saw join them. The bundle
adjustment that follows has the frames of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.base import Resources, Stage, StageContext, StageError, StageReport
from stages.core.geometry.rigid import rotation_angle
from stages.core.merged_capture import INPUT_KINDS, WHICH, session_names
from stages.core.store import ArtifactRef
from stages.merge.config import MergeConfig

if TYPE_CHECKING:
    from stages.merge.registration import Registration
    from stages.merge.session import Session


class MergeStage(Stage):
    """In place of the stages before bundle, of two sessions whose results lie in the store."""

    name = "merge"
    version = 2
    needs = Resources(memory_gb=1.0, lower=("key_frames", "max_points"))
    Config = MergeConfig
    inputs = ("capture", *INPUT_KINDS)
    outputs = (
        "pairs",
        "frames.parquet",
        "rig.json",
        "disparity",
        "masks",
        "masks.parquet",
        "poses_initial.json",
        "tracks.npz",
        "sessions.json",
    )

    def check(self, inputs: Mapping[str, ArtifactRef], config: MergeConfig) -> None:
        """Two sessions that a merge can start from. Raises CaptureError, StageError."""
        from stages.merge.session import require_one_rig

        require_one_rig(*_sessions(inputs))

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: MergeConfig, out: Path, context: StageContext
    ) -> StageReport:
        """See the module docstring. Raises StageError where the sessions do not overlap, or their surfaces deny what was found."""
        from stages.merge import judge_surfaces, write
        from stages.merge.object_points import key_frames, spots_of
        from stages.merge.registration import match_near
        from stages.merge.session import require_one_rig
        from stages.merge.tracks_between import joined_tracks, moved_tracks, spot_tracks

        first, second = _sessions(inputs)
        ratio = require_one_rig(first, second)
        frames = key_frames(first, config.key_frames), key_frames(second, config.key_frames)
        context.progress(0, 4, "points of the object")
        spots = (
            spots_of(first, frames[0], config, context.workers),
            spots_of(second, frames[1], config, context.workers),
        )
        context.progress(1, 4, "where the object of the second session lies")
        found, size = _registered(first, second, spots, config, context=context)
        context.progress(2, 4, "asking the surfaces")
        word = judge_surfaces.ask_surfaces(
            (first, frames[0]), (second, frames[1]), found.first_from_second, context.workers
        )
        judge_surfaces.refuse_contradiction(word, first, second, config)
        offset = 1 + max(r.frame for r in first.rows)
        near = match_near(*spots, found.first_from_second, found.tolerance_m, context.workers)
        between = spot_tracks(near, found, (first, second), spots, offset=offset, ratio=ratio)
        tracks = joined_tracks([first.tracks, moved_tracks(second, found.first_from_second, offset, ratio), between])
        first.rig.save(out / "rig.json")
        write.write_frames(out, (first, second), offset, ratio, progress=context.progress)
        write.write_motion(out, (first, second), offset, found.first_from_second, tracks=tracks, scope=_scope(first))
        write.write_sessions(out / "sessions.json", (first, second), offset, found.first_from_second)
        report = _report(first, second, found, offset)
        report.metrics |= {
            "size_mm": round(1e3 * size, 1),
            "points_in_both": len(between.xyz),
            "surface_floating_share": round(word.floating, 4),
            "surface_meeting_share": round(word.meeting, 3),
            "same_print_correlation": round(word.look, 3),
            "surface_moves_mm": round(1e3 * word.moved_m, 3) if np.isfinite(word.moved_m) else None,
        }
        return report


STAGE = MergeStage()


def _sessions(inputs: Mapping[str, ArtifactRef]) -> tuple[Session, Session]:
    from stages.merge.session import load

    first, second = (
        load(name, which, inputs) for name, which in zip(session_names(inputs["capture"].path), WHICH, strict=True)
    )
    return first, second


def _scope(first: Session) -> str:
    """What the tracks are of. "sessions": the object, whose surface was asked here and by each session's own bundle. Where the sessions
    meet, frames next to each other in number are no neighbours, so they are not held against each other again."""
    return "scene" if first.scope == "scene" else "sessions"


def _registered(
    first: Session, second: Session, spots: tuple, config: MergeConfig, context: StageContext
) -> tuple[Registration, float]:
    """Where the object lies, and its size in metres. Raises StageError without a clear answer."""
    from stages.merge.registration import match_all, register, tolerance_of

    size = min(first.size_m, second.size_m)
    tolerance = max(tolerance_of(s.rig, found, size) for s, found in zip((first, second), spots, strict=True))
    matches = match_all(*spots, config.ratio, context.workers)
    found = register(matches, size, tolerance, context.seed)
    who = f"{first.name} and {second.name}"
    if found is None or found.spots < config.min_spots:
        agree = 0 if found is None else found.spots
        raise StageError(
            f"{who} do not overlap: {agree} places of the object look alike in both and move as one; {config.min_spots} are needed "
            f"(merge.min_spots). {len(matches.a)} spots of {len(spots[0])} and {len(spots[1])} frames looked alike at all",
            "take the second session so that it shows a side that the first one shows too, in similar light; a bare object needs print "
            "or stickers; check that both are of the same object",
        )
    if found.rival > config.max_rival * found.spots:
        raise StageError(
            f"{who}: the object fits in two ways, {found.spots} places speak for one and {found.rival} for another",
            "it looks alike from two sides: show a side with other print in both sessions, or put a sticker on it",
        )
    return found, size


def _report(first: Session, second: Session, found: Registration, offset: int) -> StageReport:
    frames = [[r.frame for r in s.rows] for s in (first, second)]
    report = StageReport(
        method="features", reason="the object of the second session found in the first by SIFT, confirmed by surfaces"
    )
    report.metrics = {
        "first_session": f"{first.name}: frames {frames[0][0]} to {frames[0][-1]}, {len(first.poses)} with a pose",
        "second_session": f"{second.name}: frames {frames[1][0] + offset} to {frames[1][-1] + offset} (its own 0 is {offset} here), "
        f"{len(second.poses)} with a pose",
        "places_that_agree": found.spots,
        "places_for_the_next_best": found.rival,
        "matches_that_agree": found.matches,
        "tolerance_mm": round(1e3 * found.tolerance_m, 2),
        "turned_between_frames_deg": round(float(np.degrees(rotation_angle(found.first_from_second))), 1),
    }
    rows = [r for s in (first, second) for r in s.rows]
    report.frames = {
        "ok": len(first.poses) + len(second.poses),
        "left out": len(rows) - len(first.poses) - len(second.poses),
    }
    return report
