"""Do two frames show the same surface in the same look, if one of them moved as is claimed?

Surfaces meet for many false motions (a box turned by half a turn); its print does not. The grey values of the places where two depths
meet are compared after their slow part (light and shade) is taken off. On rendered captures with steps of 15 to 22 degrees the
correlation of neighbours is 0.9 at the true pose, 0.5 to 0.8 at 3 degrees beside it, 0.2 to 0.5 at 6 degrees, and below 0.2 farther off.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.core.dense.kept import KEPT
from stages.core.dense.view import DenseView, both_ways
from stages.core.geometry.rigid import transform

SAME, OTHER = 0.5, 0.35
"""correlation from which two frames show the same, and below which they do not"""
LEAST_MET = 150
"""places of the small picture that must meet before their look is judged"""
LEAST_CONTRAST = 4.0
"""standard deviation of the detail, grey levels: less is noise"""
DETAIL_PX, NOISE_PX = 6.0, 1.0
"""detail is what lies between these blurs, px of the small picture"""
FLOATS, MEETS = 0.2, 0.4
"""where the look cannot tell: surfaces contradict when more than FLOATS floats and less than MEETS meets"""
FIRM, FIRM_FLOATS, FIRM_MEETS = 0.55, 0.12, 0.5
"""two frames bear each other out when their look goes together so well, so little floats and so much meets. On random captures true
neighbours are at 0.78 to 0.95, 0.00 to 0.02 and 0.78 to 1.0; those 7 to 21 mm off at 0.19 to 0.51, 0.02 to 0.46 and 0.41 to 0.9"""
SURE, SURE_FLOATS = 0.75, 0.3
"""with such a look so much may float: one of the masks has lost a part (dino_ring: 0.82 to 0.98 with 0.13 to 0.17)"""


@dataclass(frozen=True)
class Verdict:
    """What two frames say to the motion between them: `same` and `other` are False both where nothing can be told. `correlation` of their
    detail, NaN = not judged; then the smaller share that meets and the larger that floats, of both directions, out of `asked` points."""

    correlation: float
    meets: float = 1.0
    floats: float = 0.0
    asked: int = 0

    @property
    def judged(self) -> bool:
        """Both the look and enough of the surfaces could be compared."""
        return bool(np.isfinite(self.correlation)) and self.asked >= LEAST_MET

    @property
    def silent(self) -> bool:
        """Nothing speaks for or against the motion: two bare surfaces, or hardly any in common."""
        return not self.judged and not self.other

    @property
    def same(self) -> bool:
        """They show the same."""
        return self.correlation >= SAME

    @property
    def firm(self) -> bool:
        """They show the same in every respect."""
        alike = (self.correlation >= FIRM and self.floats <= FIRM_FLOATS) or (
            self.correlation >= SURE and self.floats <= SURE_FLOATS
        )
        return self.judged and alike and self.meets >= FIRM_MEETS

    @property
    def other(self) -> bool:
        """They contradict each other."""
        if np.isfinite(self.correlation):
            return self.correlation < OTHER
        return self.asked >= LEAST_MET and self.floats > FLOATS and self.meets < MEETS


def judge(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> Verdict:
    """Two frames and the motion claimed between them."""
    look = detail_correlation(a, b, b_from_a, object_only)
    there, back = both_ways(a, b, b_from_a, object_only)
    seen = look.correlation if look.tells else float("nan")
    return Verdict(seen, min(there.agree, back.agree), max(there.violate, back.violate), min(there.asked, back.asked))


def detail(view: DenseView, object_only: bool) -> np.ndarray:
    """(h, w) float32 grey levels without light and shade, read-only; with `object_only` nothing of the background leaks in."""
    return KEPT.of(view, ("detail", object_only), lambda: (_detail(view, object_only),))[0]


def _detail(view: DenseView, object_only: bool) -> np.ndarray:
    gray = view.gray.astype(np.float32)
    weight = view.mask.astype(np.float32) if object_only else np.ones_like(gray)
    slow, fast = (_mean_within(gray, weight, s) for s in (DETAIL_PX, NOISE_PX))
    return fast - slow


def _mean_within(gray: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(gray * weight, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)


@dataclass(frozen=True)
class DetailLook:
    """How the details of two frames go together, NaN where too few places meet; `tells`: both have more contrast than noise has."""

    correlation: float
    tells: bool


def detail_correlation(a: DenseView, b: DenseView, b_from_a: np.ndarray, object_only: bool) -> DetailLook:
    """Of the detail at the places of a that b's depth meets."""
    pixel_a, x = a.surface(object_only)
    landed = b.land(transform(b_from_a, x))
    on = landed.on & b.mask[landed.at] if object_only else landed.on
    if on.sum() < LEAST_MET:
        return DetailLook(float("nan"), False)
    u, v = pixel_a[landed.seen[on]].T
    of_a, of_b = detail(a, object_only)[v, u], detail(b, object_only)[landed.at[0][on], landed.at[1][on]]
    least = min(float(of_a.std()), float(of_b.std()))
    return DetailLook(float(np.corrcoef(of_a, of_b)[0, 1]) if least > 0 else float("nan"), least >= LEAST_CONTRAST)
