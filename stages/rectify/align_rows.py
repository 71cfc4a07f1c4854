"""Decides on the row correction: what was measured, whether it is worth a resampling, and how it is reported."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.rectify import checks
from stages.rectify.geometry import Geometry
from stages.rectify.row_offset import (
    CERTAIN,
    MIN_MATCHES,
    RowMatches,
    RowOffset,
    fit_right_camera,
    plausible,
    swapped_share,
)

LARGE_PX, LARGE_SHARE = 3.0, 0.003


@dataclass
class RowAlignment:
    """The geometry to use, the matches before and after (None where there were too few), and what to say."""

    geometry: Geometry
    before: RowMatches | None = None
    after: RowMatches | None = None
    per_frame_px: dict[int, float] = field(default_factory=dict)
    """median row error of each sampled frame after the correction"""
    metrics: dict[str, float | int | str | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def align_rows(found: RowMatches, geometry: Geometry, model: str, ignore_px: float, most_px: float) -> RowAlignment:
    """Correct the right camera of `geometry` where rows miss by more than `ignore_px`. Raises CaptureError if the sides are swapped
    or rows miss by more than `most_px`."""
    checks.refuse_swapped(swapped_share(found))
    matches = plausible(found, geometry.rig.height)
    before = RowOffset.of(matches)
    metrics = {"row_matches": before.matches, **_figures("before", before)}
    if before.matches < MIN_MATCHES:
        return RowAlignment(
            geometry,
            metrics=metrics,
            warnings=[
                f"the row offset between the views could not be measured ({before.matches} matches; {MIN_MATCHES} needed): "
                "the calibration is taken as it is"
            ],
        )
    checks.refuse_row_offset(before, most_px)
    change, used = fit_right_camera(matches, model)
    after = matches.corrected(change)
    if not worth_it(before, matches, after, ignore_px) or (
        used == "pitch" and abs(before.median_px) < CERTAIN * before.error_px
    ):
        after, used = matches, "none"
    out = RowAlignment(geometry if used == "none" else geometry.with_right(change), matches, after, _per_frame(after))
    now = RowOffset.of(after)
    out.metrics = {**metrics, "row_correction": used, **_figures("after", now)}
    if used != "none":
        out.warnings.append(
            f"the rows of the two views missed each other by {_words(before)}: "
            f"the right camera was corrected ({used}), now {_words(now)}"
        )
    out.warnings += _large(np.abs(after.rows_px - matches.rows_px), geometry.rig.width) if used != "none" else []
    out.warnings += checks.row_warnings(now.spread_px, list(out.per_frame_px.values()))
    return out


def _large(moved_px: np.ndarray, width: int) -> list[str]:
    """A warning where the correction moves rows by more than a small error of a calibration can."""
    most = float(np.quantile(moved_px, 0.9))
    if most < max(LARGE_PX, LARGE_SHARE * width):
        return []
    return [
        f"the correction moves rows by up to {most:.1f} px: more than a good calibration is off by. Are these the pictures it was made "
        "for (crop, zoom, size), and has no camera moved since? Distances may be wrong"
    ]


def worth_it(before: RowOffset, matches: RowMatches, after: RowMatches, ignore_px: float) -> bool:
    """Whether all rows are off by more than `ignore_px`, or a tenth of them by twice that."""
    moved = np.abs(after.rows_px - matches.rows_px)
    return abs(before.median_px) > ignore_px or float(np.quantile(moved, 0.9)) > 2 * ignore_px


def _per_frame(m: RowMatches) -> dict[int, float]:
    frames, counts = np.unique(m.pair, return_counts=True)
    return {
        int(f): float(np.median(m.rows_px[m.pair == f]))
        for f, n in zip(frames, counts, strict=True)
        if n >= MIN_MATCHES
    }


def _figures(when: str, offset: RowOffset) -> dict[str, float | None]:
    values = {f"row_offset_{when}_px": offset.median_px, f"row_spread_{when}_px": offset.spread_px}
    return {k: round(v, 4) if np.isfinite(v) else None for k, v in values.items()}


def _words(offset: RowOffset) -> str:
    return f"{offset.median_px:+.2f} px (spread {offset.spread_px:.2f})"
