"""good, honest or wrong: what the frames' scores and the run's warnings come to.

good    every pose that is claimed is right, 90 % of the frames that show the object have one, no mask that is called ok is bad,
        mean J is 90 or more
honest  it stopped and said why, or every frame that is not right is marked and the report warns
wrong   something is claimed that is not so
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.frames import frame_ranges
from tools.robustness.score import FrameScore

BAD_J, GOOD_MEAN_J, GOOD_POSED = 80.0, 90.0, 0.9
MARKED = ("uncertain", "lost", "")
"""statuses of a mask that claim nothing; "" = the frame was not used"""
LEAST_VISIBLE = 1 / 3
"""frames in which less than this share of the object is seen need no pose for a good run; one that is claimed must be right all the same"""
BAD_TWIN_MM, BAD_TWIN_SHARE = 3.0, 0.02
"""a twin whose chamfer distance is beyond the larger of 3 mm and 2 % of the object's extent is not the object's"""


@dataclass(frozen=True)
class Verdict:
    """`kind` "good", "honest" or "wrong", and why."""

    kind: str
    reasons: tuple[str, ...]


def judge_frames(frames: Sequence[FrameScore], limit_mm: float, warnings: Sequence[str]) -> Verdict:
    """The verdict on a run that came to the end asked for."""
    false = [*_false_poses(frames, limit_mm), *_false_masks(frames)]
    if false:
        return Verdict("wrong", tuple(false))
    off = [f for f in frames if not _right(f, limit_mm)]
    if off and not warnings:
        return Verdict("wrong", (f"no warning, though frames {_named(off)} are not right",))
    short = _short_of_good(frames, limit_mm)
    return Verdict("honest", tuple(short)) if short else Verdict("good", ())


def judge_twin(verdict: Verdict, chamfer_mm: float, extent_mm: float, warnings: Sequence[str]) -> Verdict:
    """`verdict` on the frames, and what the surface adds; `warnings`: of surface and later stages, and a verdict that is not "usable"."""
    if chamfer_mm <= max(BAD_TWIN_MM, BAD_TWIN_SHARE * extent_mm):
        return verdict
    reason = f"the twin's surface is off: chamfer {chamfer_mm:.1f} mm at {extent_mm:.0f} mm"
    if verdict.kind == "wrong" or not warnings:
        return Verdict("wrong", (*verdict.reasons, reason + ("" if warnings else ", without a warning")))
    return Verdict("honest", (*verdict.reasons, reason))


def _right(frame: FrameScore, limit_mm: float) -> bool:
    return frame.J >= BAD_J and frame.pose_error_mm is not None and frame.pose_error_mm <= limit_mm


def _false_poses(frames: Sequence[FrameScore], limit_mm: float) -> list[str]:
    """A pose that is off and whose frame nothing marks."""
    off = [f for f in frames if f.pose_error_mm is not None and f.pose_error_mm > limit_mm]
    claimed = [f for f in off if f.pose_status == "ok" and f.mask_status not in MARKED]
    if not claimed:
        return []
    worst = max(f.pose_error_mm or 0.0 for f in claimed)
    return [f"poses claimed that are off, up to {worst:.1f} mm: frames {_named(claimed)}"]


def _false_masks(frames: Sequence[FrameScore]) -> list[str]:
    bad = [f for f in frames if f.J < BAD_J and f.mask_status not in MARKED]
    if not bad:
        return []
    J, trust = np.mean([f.J for f in bad]), np.median([f.trust for f in bad])
    return [f"masks called ok with J < {BAD_J:.0f} (mean {J:.0f}, trust {trust:.2f}): frames {_named(bad)}"]


def _short_of_good(frames: Sequence[FrameScore], limit_mm: float) -> list[str]:
    posed = np.mean([f.pose_error_mm is not None for f in frames if f.visible >= LEAST_VISIBLE] or [False])
    J, doubted = np.mean([f.J for f in frames]), [f for f in frames if f.J < BAD_J]
    off = [f for f in frames if f.pose_error_mm is not None and f.pose_error_mm > limit_mm]
    out = [f"poses off, but marked: frames {_named(off)}"] if off else []
    if posed < GOOD_POSED:
        out.append(f"{100 * posed:.0f} % of the frames that show the object have a pose")
    if J < GOOD_MEAN_J:
        out.append(f"mean J {J:.0f}" + (f"; marked: frames {_named(doubted)}" if doubted else ""))
    return out


def _named(frames: Sequence[FrameScore]) -> str:
    return frame_ranges([f.frame for f in frames])
