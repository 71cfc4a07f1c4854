"""The pass over the whole capture before any heavy work: measures every pair, then decides which frames are usable and which are taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.core.errors import CaptureError
from stages.core.parallel import ordered_map
from stages.rectify.figures import FrameFigures, compare, measure_pair
from stages.rectify.raw_pairs import PairReader

NEIGHBOURS = 12
"""frames on each side that a frame's sharpness is compared with: the content changes over a turn"""
FLAT = 0.05
"""edge strength of mild sensor noise; keeps the ratio at 1 where no frame has any"""


def survey(reader: PairReader, workers: int, progress: Callable[[int, str], None]) -> list[FrameFigures]:
    """One row per frame of the capture, with its figures. Motion and duplicates compare with the frame before that could be read."""
    rows, before = [], None
    for row, small in ordered_map(measure_pair, reader.stream(), workers):
        if small is not None:
            if before is not None and before.blocks.shape == small.blocks.shape:
                row.motion, row.difference = compare(before, small)
                row.right_difference = float(np.abs(small.right_blocks - before.right_blocks).max())
            before = small
        rows.append(row)
        progress(len(rows), f"checking {row.name}")
    if not rows:
        raise CaptureError("the capture holds no frame", "give pictures in left/ and right/, or a video")
    return rows


def expected_size(rows: Sequence[FrameFigures], calibrated: tuple[int, int] | None, source: str) -> tuple[int, int]:
    """The picture size of the capture; raises CaptureError if the calibration is for another one."""
    sizes = Counter(r.left_size for r in rows if r.left_size is not None)
    if not sizes:
        first = next(r for r in rows if not r.ok)
        raise CaptureError(
            f"no pair can be read; frame {first.frame}: {first.reason}", "check the files of left/ and right/"
        )
    size = sizes.most_common(1)[0][0]
    if calibrated and calibrated != size and sizes[calibrated] < len(rows) / 2:
        scale = size[0] / calibrated[0], size[1] / calibrated[1]
        hint = (
            "export the pictures at the calibrated size"
            if abs(scale[0] / scale[1] - 1) < 0.01
            else "they are not even of one shape"
        )
        raise CaptureError(
            f"{source} is for {calibrated[0]}x{calibrated[1]} px pictures, the capture has {size[0]}x{size[1]} px",
            f"calibrate at the size of the capture; {hint}",
        )
    return calibrated or size


def refuse_unusable(
    rows: Sequence[FrameFigures], size: tuple[int, int], blurred_below: float, duplicate_below: float
) -> None:
    """Set the status of frames of another size, of blurred ones and of exact repeats; fills `sharpness_ratio`."""
    for row in rows:
        if row.ok and row.left_size != size:
            row.refuse("size", f"{row.left_size[0]}x{row.left_size[1]} px, the capture has {size[0]}x{size[1]} px")
    good = [r for r in rows if r.ok]
    if not good:
        return
    edges = np.array([r.edges for r in good]).reshape(len(good), -1)
    for i, row in enumerate(good):
        around = np.median(edges[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1], axis=0)
        row.sharpness_ratio = float(np.min((edges[i] + FLAT) / (around + FLAT)))
        if row.sharpness_ratio < blurred_below:
            row.refuse(
                "blurred",
                f"edges in one direction are {row.sharpness_ratio:.2f} times as steep as in the frames around it",
            )
        if row.right_difference < duplicate_below <= row.difference:
            row.refuse(
                "duplicate",
                "the right picture repeats that of the frame before, the left one does not: the pair is of two moments",
            )
        if row.difference < duplicate_below:
            row.refuse(
                "duplicate",
                f"the same picture as the frame before (largest difference {row.difference:.3f} grey levels)",
            )


def require_enough(rows: Sequence[FrameFigures], least_share: float) -> None:
    """Raise CaptureError when too few frames are usable, with the reasons counted."""
    usable = sum(r.ok for r in rows)
    faulty = Counter(r.status for r in rows if r.status not in ("ok", "duplicate", "not_selected"))
    considered = usable + sum(faulty.values())
    if usable == 0 or usable < least_share * considered:
        first = next((r for r in rows if r.status in faulty), rows[0])
        counts = ", ".join(f"{n} {s}" for s, n in sorted(faulty.items()))
        raise CaptureError(
            f"only {usable} of {considered} frames are usable ({counts}); first: frame {first.frame}, {first.reason}",
            f"mend or remove these files; at least {least_share:.0%} must be usable (rectify.min_usable)",
        )


@dataclass(frozen=True)
class Choice:
    """Which frames are taken. "motion": the picture's motion is added up; each time it reaches `step`, the sharpest frame since the last is
    taken. "sparse": few frames, never more than `step` of motion apart where the capture has one between, and `least` at least.
    `most`: of what remains, evenly spaced in motion order, the first always."""

    by: Literal["all", "motion", "sparse"] = "all"
    step: float = 0.02
    least: int = 2
    most: int | None = None


REASONS = {
    "all": "thinned to rectify.max_frames",
    "motion": "a neighbour shows the same",
    "sparse": "the frames beside it overlap enough",
}


def select(rows: Sequence[FrameFigures], choice: Choice, keep: Collection[int] = ()) -> None:
    """Mark the frames that are not taken "not_selected"; the frames `keep` (the prompt's) always stay."""
    chosen, most = [r for r in rows if r.ok], choice.most
    if choice.by == "motion":
        chosen = _sharpest_per_step(rows, choice.step)
    elif choice.by == "sparse":
        chosen = _within_step(rows, choice.step, choice.least)
    if most is not None and len(chosen) > most:
        chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, most).round().astype(int))]
    frames = {r.frame for r in chosen}
    for frame in (r.frame for r in rows if r.ok and r.frame in keep and r.frame not in frames):
        if most is not None and len(frames) >= most and (spare := frames - set(keep)):
            frames.remove(min(spare, key=lambda f: abs(f - frame)))
        frames.add(frame)
    for row in rows:
        if row.ok and row.frame not in frames:
            row.refuse("not_selected", REASONS[choice.by])


def _sharpest_per_step(rows: Sequence[FrameFigures], step: float) -> list[FrameFigures]:
    groups: dict[int, list[FrameFigures]] = {}
    travelled = 0.0
    for row in rows:
        travelled += row.motion if np.isfinite(row.motion) else 0.0
        if row.ok:
            groups.setdefault(int(travelled / step), []).append(row)
    return [max(group, key=lambda r: r.sharpness) for group in groups.values()]


def _within_step(rows: Sequence[FrameFigures], step: float, least: int) -> list[FrameFigures]:
    """From each frame as far as `step` reaches: the sharpest of the second half of it, or the next frame where that is farther."""
    good = [r for r in rows if r.ok]
    motion = np.cumsum([r.motion if np.isfinite(r.motion) else 0.0 for r in rows])
    place = [float(m) for r, m in zip(rows, motion, strict=True) if r.ok]
    taken = [0] if good else []
    while taken and taken[-1] < len(good) - 1:
        here = taken[-1]
        reach = [i for i in range(here + 1, len(good)) if place[i] - place[here] <= step] or [here + 1]
        far = [i for i in reach if place[i] - place[here] > step / 2] or reach[-1:]
        taken.append(max(far, key=lambda i: (good[i].sharpness, i)))
    if len(taken) < min(least, len(good)):
        taken = list(np.linspace(0, len(good) - 1, min(least, len(good))).round().astype(int))
    return [good[i] for i in taken]
