"""How far a mask can be trusted (0-1), and its status in words: each cue gives a figure, the weakest decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.masks.cut.frame_cut import FrameCut

DOUBTED = 0.45
"""most that a mask is trusted which was made without the usual means (unplaced frame, odd first mask)"""
UNCHECKED = 0.6
"""most that a mask is trusted which nothing but colour and flow speaks for: they may run away together. It is uncertain whatever its trust:
on random captures one in six of such masks was below a J of 80, and nothing in them told which"""
BORDER_SHARE = 0.03
"""share of the outline on the picture's border from which the object counts as cut off"""


@dataclass(frozen=True)
class Verdict:
    """status "ok", "uncertain" or "lost"; trust 0-1; area px; reason "" or what is doubtful."""

    status: str
    trust: float
    area_px: int
    reason: str


def judge(
    cut: FrameCut,
    usual_area: float,
    uncertain_below: float,
    lost_because: str = "",
    doubt: str = "",
    checked: bool = True,
) -> Verdict:
    """The verdict on one frame.

    `usual_area`: median area of the neighbouring frames' masks (NaN = unknown); `doubt`: of the seed; `checked`: depth, a known
    background or a hull could have contradicted the mask.
    """
    area = int(cut.mask.sum())
    if area == 0:
        return Verdict("lost", 0.0, 0, lost_because or "no object found")
    cues = {
        "colour and depth hardly separate the object from its background": ramp(cut.evidence, 0.45, 0.8),
        "the depth inside the mask does not fit the object (leak, or wrong depth)": ramp(cut.depth, 0.5, 0.9),
        "the outline differs from what the other frames predict": ramp(cut.overlap, 0.4, 0.85),
        "the area jumps against the neighbouring frames": ramp(
            -abs(np.log(area / usual_area)) if usual_area > 0 else float("nan"), -0.8, -0.25
        ),
    }
    known = {k: v for k, v in cues.items() if np.isfinite(v)}
    worst = min(known, key=known.get) if known else ""
    trust = known.get(worst, 0.5)
    if doubt := doubt or cut.doubt:
        trust, worst = min(trust, DOUBTED), doubt
    if not checked and trust >= uncertain_below:
        trust, worst = (
            min(trust, UNCHECKED),
            "only colour and optical flow speak for it, and they may run away together",
        )
    cut_off = border_share(cut.mask) > BORDER_SHARE
    trust *= 0.85 if cut_off else 1.0
    status = "uncertain" if not checked or trust < uncertain_below else "ok"
    reason = worst if status == "uncertain" else "the object reaches the picture's border" if cut_off else ""
    return Verdict(status, round(float(trust), 3), area, reason)


def ramp(value: float, low: float, high: float) -> float:
    """0 at `low`, 1 at `high`, linear between; NaN stays NaN."""
    return float(np.clip((value - low) / (high - low), 0, 1)) if np.isfinite(value) else float("nan")


def border_share(mask: np.ndarray) -> float:
    """Share of the mask's outline that lies on the picture's border."""
    border = int(mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum())
    inner = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return border / max(1, border + inner)


def usual_areas(areas: Sequence[int], reach: int = 3) -> list[float]:
    """For each frame the median of the non-zero areas of up to `reach` frames on either side, itself excluded; NaN = none."""
    out = []
    for i in range(len(areas)):
        near = [
            a for j, a in enumerate(areas[max(0, i - reach) : i + reach + 1], max(0, i - reach)) if j != i and a > 0
        ]
        out.append(float(np.median(near)) if near else float("nan"))
    return out
