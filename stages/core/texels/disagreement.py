"""Whether all pictures show the object in one place. Where the poses of some frames are off, two positions of it are painted over each
other: the blend looks sharp, and like neither, and each picture agrees with those of its own group.

So pairs of pictures are compared, without what light can do: gloss and noise make all of them differ alike; a second position makes some
pairs differ far more than others, however few points tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from stages.core.texels.exposure import gain_tables
from stages.core.texels.views import View

NEAR_DEG = 40.0
"""between the directions from which the two look: farther apart, light and gloss differ too"""
MOST_POINTS, LEAST_POINTS, LEAST_PAIRS = 4000, 100, 12
"""of the surface that are looked at; that both of a pair see; pairs without which nothing is said"""
LEAST_CONTRAST = 5.0
"""grey levels: on a surface of one colour nothing can disagree"""
USUAL, WORST = 25, 90
"""percentiles over the pairs"""


def disagreement_of_views(
    views: list[View],
    colours: np.ndarray,
    weights: np.ndarray,
    gains: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
) -> float | None:
    """The ratio below for the left pictures (the right ones share their pose), with their exposure evened out.

    colours (V, N, 3), weights (V, N) as the survey found them at points, normals (N, 3) of the object; gains (V, 3)."""
    left = [k for k, view in enumerate(views) if view.side == "left"]
    if not left:
        return None
    some = slice(None, None, -(-len(points) // MOST_POINTS))
    even = np.stack([_evened(colours[k, some], gain_tables(gains[k])) for k in left])
    away = np.array([views[k].centre for k in left]) - points.mean(0)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return disagreement_ratio(
        even, weights[left, some], normals[some].astype(float), away, frames=np.array([views[k].frame for k in left])
    )


def _evened(colour: np.ndarray, tables: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(colour[:, c], np.arange(257), tables[c]) for c in range(3)], -1)


def disagreement_ratio(
    colours: np.ndarray, weights: np.ndarray, normals: np.ndarray, directions: np.ndarray, frames: np.ndarray
) -> float | None:
    """How much more the worst pairs of pictures differ than usual ones do: 1 to 2 where all is in one place. None where too few overlap.

    colours (V, N, 3) grey levels of points after exposure, weights (V, N) (0 = not seen), normals (N, 3), directions (V, 3) unit from the
    object to each camera, frames (V,)."""
    found = list(_differences(colours, weights, normals, directions, frames=frames))
    if len(found) < LEAST_PAIRS:
        return None
    usual, worst = np.percentile(found, [USUAL, WORST])
    return float(worst / max(usual, 1e-6))


def _differences(
    colours: np.ndarray, weights: np.ndarray, normals: np.ndarray, directions: np.ndarray, frames: np.ndarray
) -> Iterator[float]:
    """Of each pair that looks from nearly the same side: the mean difference over the contrast of what both see."""
    near = directions @ directions.T > np.cos(np.radians(NEAR_DEG))
    for i, j in combinations(range(len(frames)), 2):
        if frames[i] == frames[j] or not near[i, j]:
            continue
        both = (weights[i] > 0) & (weights[j] > 0)
        if both.sum() < LEAST_POINTS:
            continue
        a, b, tilt = colours[i][both], colours[j][both], np.c_[np.ones(both.sum()), normals[both]]
        # light that stays while the object turns: a matt point changes by a factor that is linear in its normal
        left = np.stack([_without(b[:, c] - a[:, c], np.c_[tilt, a[:, [c]] * tilt]) for c in range(3)], 1)
        contrast = max(float(_without((a[:, c] + b[:, c]) / 2, tilt).std()) for c in range(3))
        yield float(np.abs(left).max(1).mean()) / max(contrast, LEAST_CONTRAST)


def _without(values: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(N,) less what a sum of terms (N, K) explains, by least squares."""
    return values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0]
