"""What `track` says of its result: figures, warnings in plain words, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.base import StageReport
from stages.core.frames import FramePose, FrameReader, frame_ranges
from stages.core.images import write_rgb
from stages.core.path_picture import draw_camera_path
from stages.track.links.linking import ViewGraph
from stages.track.pictures import draw_matches
from stages.track.points.frame_points import FramePoints
from stages.track.tracks import tracking
from stages.track.tracks.result import TrackResult

FEW_POINTS = 50
"""observations of a frame below which a user is told"""


def figures(
    points: Mapping[int, FramePoints], graph: ViewGraph, result: TrackResult, drift: tuple[float, float, float] | None
) -> dict[str, float | int | str | None]:
    """Figures of the report; `drift` is what `loop_discrepancy` measured before bundle adjustment."""
    length = np.bincount(result.point) if len(result.point) else np.zeros(1)
    count = np.array([(result.frame == f).sum() for f in result.poses])
    matched = [e for e in graph.edges if e.inliers]
    return {
        "points_inside_median": int(np.median([p.own.sum() for p in points.values()])),
        "points_median": int(np.median([len(p) for p in points.values()])),
        "keyframes": len(graph.keyframes),
        "pairs_linked": len(graph.edges),
        "pair_matches_median": int(np.median([e.proposed for e in matched])) if matched else None,
        "pair_inliers_median": int(np.median([e.inliers for e in matched])) if matched else None,
        "pairs_linked_by_surface": sum(e.surface_worth > 0 for e in graph.edges),
        "loops": len(graph.loops),
        "loops_refused": graph.refused,
        "masks_mended": len(graph.mended),
        "poses_contradicted": len(graph.contradicted),
        "loop_gap_deg": drift and round(drift[0], 4),
        "loop_gap_mm": drift and round(drift[1], 4),
        "loop_gap_px": drift and round(drift[2], 3),
        "full_turn": "yes" if tracking.full_turn(result.poses, np.zeros(3)) else "no",
        "tracks": len(result.xyz),
        "tracks_inside": int(result.inside.sum()),
        "observations": len(result.point),
        "track_length_mean": round(float(length.mean()), 2),
        "rms_px": round(float(np.sqrt(np.nanmean(result.residual**2))), 4) if len(result.residual) else None,
        "inliers_median": int(np.median(count)),
        "inliers_min": int(count.min()),
    }


def warnings(
    points: Mapping[int, FramePoints], graph: ViewGraph, rows: Sequence[FramePose], without_mask: Sequence[int]
) -> list[str]:
    """What a user should know, in plain words."""
    out = []
    if len(points) == 1:
        out.append(
            "The capture has one frame: its pose is the identity, and only the side it shows can be reconstructed."
        )
    lost = [r.frame for r in rows if r.status == "lost"]
    if lost:
        parts = tracking.part_sizes(sorted(points), graph.edges)[1:]
        more = f" {parts[0]} of them fit together, but not with the rest." if parts and parts[0] > 1 else ""
        if any(set(lost) & set(j.frames) for j in graph.jumps):
            more += " Views that look alike would tie them to the rest, but then the object would have leapt: record without gaps there."
        out.append(
            f"{len(lost)} of {len(points)} frames could not be posed: {frame_ranges(lost)}.{more} Reasons: poses_initial.json."
        )
    posed = [r for r in rows if r.status == "ok"]
    if graph.mended:
        cut = f"The masks of {len(graph.mended)} frames had lost a part of the object ({frame_ranges(graph.mended)})"
        out.append(f"{cut}; for tracking it was given back.")
    without = [r.frame for r in posed if r.frame in without_mask]
    if without:
        out.append(
            f"{len(without)} frames had no mask ({frame_ranges(without)}); the object's points in other frames gave their poses."
        )
    weak = [r.frame for r in posed if r.inliers < FEW_POINTS]
    if weak and len(points) > 1:
        out.append(
            f"{len(weak)} frames rest on fewer than {FEW_POINTS} points: {frame_ranges(weak)}. Their poses are less certain."
        )
    surface = [f"{e.a}-{e.b}" for e in graph.edges if e.surface_worth]
    if surface:
        out.append(
            f"{len(surface)} pairs of frames share few points and were tied by their surfaces: {', '.join(surface[:12])}."
        )
    return out


def draw(
    report: StageReport,
    reader: FrameReader,
    points: Mapping[int, FramePoints],
    graph: ViewGraph,
    result: TrackResult,
    out: Path,
) -> None:
    """Matches of a middling pair, and the camera's path; added to the report."""
    folder = out / "pictures"
    edges = [e for e in graph.edges if e.inliers]
    if edges:
        e = sorted(edges, key=lambda e: (e.inliers, e.a))[len(edges) // 2]
        pair = draw_matches(
            reader.rgb(e.a), reader.rgb(e.b), points[e.a].uv[e.matches[:, 0]], points[e.b].uv[e.matches[:, 1]]
        )
        write_rgb(folder / "matches.jpg", pair, 80)
        report.pictures.append(
            (
                f"Points that agree on one motion, frames {e.a} and {e.b} ({e.inliers}; lines show 150)",
                "pictures/matches.jpg",
            )
        )
    cloud = result.xyz[result.inside] if result.inside.any() else result.xyz
    write_rgb(folder / "path.jpg", draw_camera_path(result.poses, cloud), 88)
    report.pictures.append(
        ("Path of the left camera round the object's points, before bundle adjustment", "pictures/path.jpg")
    )
