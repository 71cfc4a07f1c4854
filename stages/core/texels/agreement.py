"""What all views see of sparse points of the surface, and how they are brought to agree: gains, and small corrections of the poses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.core.camera import Rig
from stages.core.render import Caster
from stages.core.texels.alignment import align
from stages.core.texels.atlas import Texels
from stages.core.texels.disagreement import disagreement_of_views
from stages.core.texels.exposure import gain_tables, solve_gains
from stages.core.texels.survey import Source, Surveyed, compensated_grey, survey
from stages.core.texels.views import View

SURVEY_POINTS = 16_000


def survey_all(
    t: Texels, views: list[View], source: Source, caster: Caster, seed: int, progress: Callable[[int], None]
) -> list[Surveyed]:
    """The views that show the mesh, by points that `survey_points` draws of its texels."""
    pick, out = survey_points(t, seed), []
    for k, s in enumerate(survey(views, source, caster, t.position[pick], normals=t.normal[pick])):
        progress(k + 1)
        if s is not None:
            out.append(s)
    return out


def survey_points(t: Texels, seed: int) -> np.ndarray:
    """Of all texels, those that stand for the surface in the survey."""
    inside = np.flatnonzero(t.inside)
    return np.sort(np.random.default_rng(seed).choice(inside, min(SURVEY_POINTS, len(inside)), replace=False))


def agree(
    surveyed: list[Surveyed], t: Texels, rig: Rig, exposure: bool, align_views: bool, seed: int, progress
) -> tuple[np.ndarray, dict]:
    """Exposure gains (V, 3), and the views' poses corrected in place."""
    colours, weights = np.stack([s.colour for s in surveyed]), np.stack([s.weight for s in surveyed])
    progress("exposure of the pictures")
    gains = solve_gains(colours, weights) if exposure else np.ones((len(surveyed), 3))
    pick = survey_points(t, seed)
    differ = disagreement_of_views(
        [s.view for s in surveyed], colours, weights, gains, points=t.position[pick], normals=t.normal[pick]
    )
    figures: dict[str, float | int | None] = {
        "gain_min": round(float(gains.min()), 3),
        "gain_max": round(float(gains.max()), 3),
        "pair_disagreement_ratio": None if differ is None else round(differ, 3),
    }
    if align_views and len(surveyed) > 2:
        progress("agreement of the pictures")
        greys = [compensated_grey(s.picture, gain_tables(g)) for s, g in zip(surveyed, gains, strict=True)]
        result = align(
            [s.view for s in surveyed],
            rig,
            greys,
            [s.window for s in surveyed],
            points=t.position[pick].astype(float),
            weights=weights,
        )
        for s, camera in zip(surveyed, result.camera_from_object, strict=True):
            s.view = View(s.view.frame, s.view.side, camera, s.view.sharpness)
        figures |= {
            "alignment_shift_median_px": round(float(np.median(result.shift_px)), 3),
            "alignment_shift_max_px": round(float(result.shift_px.max()), 3),
            "disagreement_before_levels": round(result.before, 3),
            "disagreement_after_levels": round(result.after, 3),
        }
    for s in surveyed:
        s.picture = s.colour = s.weight = np.zeros(0)  # the survey's arrays are not needed for painting
    return gains, figures
