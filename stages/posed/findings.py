"""What the silhouettes say of the cameras: how well they agree, which picture is turned or mirrored, which field of view fits better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.posed.agreement import Agreement, Repair, Silhouette, proposed_repair, small
from stages.posed.field_of_view import best_focal_factor

MOST_VIEWS = 24
"""tested; of more pictures, so many spread evenly"""
VIEWS_FOR_LENS = 8
FOV_GAIN, FOV_CHANGE = 0.002, 0.02
"""a field of view is proposed when the mean agreement rises by so much, and the focal length changes by such a share at least"""


@dataclass(frozen=True)
class Findings:
    """agreement: intersection over union per tested picture; fov in degrees, None = that of the file is as good."""

    names: tuple[str, ...]
    agreement: np.ndarray
    repair: Repair | None
    fov_deg: float | None
    fov_now_deg: float
    focal_factor: float
    fov_agreement: float

    def warnings(self) -> list[str]:
        """In plain words, with what to do."""
        out = []
        if self.repair is not None:
            r = self.repair
            out.append(
                f"the picture {r.name} does not fit the others: {r.what} would restore the agreement of the silhouettes "
                f"(mean {r.before:.3f} -> {r.after:.3f}). Set posed.apply_repair=true, or correct the picture or its camera"
            )
        if self.fov_deg is not None:
            out.append(
                f"the silhouettes agree better with a horizontal field of view of {self.fov_deg:.1f} degrees than with "
                f"{self.fov_now_deg:.1f} (mean {self.agreement.mean():.3f} -> {self.fov_agreement:.3f}). Set "
                "posed.apply_field_of_view=true"
            )
        if not out and self.agreement.mean() < 0.85:
            worst = self.names[int(self.agreement.argmin())]
            out.append(
                f"the silhouettes agree badly (mean {self.agreement.mean():.2f}, least {worst}: {self.agreement.min():.2f}): cameras"
                " or masks are off, and no single repair explains it"
            )
        return out  # fmt: skip


def check(views: Sequence[Silhouette]) -> Findings | None:
    """Of at least three pictures; None where fewer can be tested, or their silhouettes have nothing in common."""
    usable = [v for v in views if v.mask.any()]
    if len(usable) < 3:
        return None
    chosen = [small(usable[i]) for i in np.unique(np.linspace(0, len(usable) - 1, MOST_VIEWS).round().astype(int))]
    try:
        scores = Agreement(chosen).scores()
    except ValueError:
        return None
    factor = best_focal_factor(
        [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, VIEWS_FOR_LENS).round().astype(int))]
    )
    better = _mean_agreement(chosen, factor)
    clear = better - float(scores.mean()) > FOV_GAIN and abs(factor - 1) > FOV_CHANGE
    repair = proposed_repair(chosen, focal_factors=(1.0, factor) if clear else (1.0,))
    now = fov_deg(chosen[0])
    # a turned picture distorts what the silhouettes say of the lens: first things first
    proposed = fov_deg(chosen[0].with_focal(factor)) if clear and repair is None else None
    return Findings(
        tuple(v.name for v in chosen),
        scores,
        repair,
        proposed,
        fov_now_deg=now,
        focal_factor=factor,
        fov_agreement=better,
    )


def _mean_agreement(views: Sequence[Silhouette], factor: float) -> float:
    try:
        return float(Agreement([v.with_focal(factor) for v in views]).scores().mean())
    except ValueError:
        return 0.0


def fov_deg(view: Silhouette) -> float:
    """Horizontal."""
    return 2 * math.degrees(math.atan(view.mask.shape[1] / 2 / view.K[0, 0]))
