"""Light and materials in turn.

What a point shows changes from view to view by what it mirrors alone, whatever its base colour is: the differences between views are
linear in the light. Where nothing is mirrored, points of one colour that are lit differently tell more: radiance less what is mirrored is
in proportion to irradiance, again linear in the light (light_equations.py). Given the light, materials follow (fit.py).

Only products of light and base colour are seen, but for the mirrored part, which knew the scale to within 1.6 (docs/methods/material.md):
so the scale is set, by `brightest`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stages.material.fit import Lit, Samples, base_colours, between, costs, mirrored_by
from stages.material.gloss import LEVELS
from stages.material.light_equations import Believed, solve_light
from stages.material.occlusion import irradiance_rows, own_irradiance

FIRST_ROUGHNESS, FIRST_BASE = 0.4, 0.4
BRIGHT_SHARE = 0.9
"""of the points are darker than `brightest`"""
SATURATED = 0.97
"""radiance from which a pixel may have been cut off"""
ALIKE = 0.1
"""difference of base colours, square roots, at which points no longer share their roughness"""
NEAR = 0.03
"""of all points: so many share their roughness, as far as their colours are alike"""
KINDS = 10
"""of base colour that are told apart where light is solved"""


@dataclass(frozen=True)
class Body:
    """The object, twin axes: normals (N, 3) of its vertices, hit (N, 2 H^2) int32 of occlusion.py, colours (N, 3) mean radiance."""

    normals: np.ndarray
    hit: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True)
class Options:
    """height of the light, pixels; rounds; base colour of the brightest; weights of a light without steps and of kinds of colour."""

    height: int = 16
    rounds: int = 10
    brightest: float = 0.85
    smooth_light: float = 1e-2
    one_colour: float = 0.3
    workers: int = 1


@dataclass(frozen=True)
class Solved:
    """lit: the light and what it does; base (P, 3) and roughness (P,) of the points; error: mean absolute one, of a white of 1, and that
    of a colour per point that is the same from everywhere."""

    lit: Lit
    base: np.ndarray
    roughness: np.ndarray
    error: float
    plain_error: float


def solve(
    samples: Samples, body: Body, positions: np.ndarray, options: Options, progress: Callable[[int, int], None]
) -> Solved:
    """Light and materials of the points at `positions` (P, 3)."""
    samples = without_saturated(samples)
    rows = irradiance_rows(body.normals, body.hit, options.height)
    own = own_irradiance(body.normals, body.hit, body.colours, options.height)
    mean = samples.mean(samples.radiance)
    near, level = near_points(positions), max(float(np.median(mean)), 1e-3)
    roughness, base, diffuse = np.full(len(mean), FIRST_ROUGHNESS), mean / level * FIRST_BASE, mean
    lit, error = Lit(np.zeros(0), own, body.hit, body.colours), 0.0
    for k in range(options.rounds):
        believed = Believed(base, palette(base, by_hue=k == 0), roughness, diffuse)
        smooth, one_colour = options.smooth_light, options.one_colour
        light = solve_light(samples, lit, (rows, own), believed, smooth=smooth, one_colour=one_colour)
        lit = Lit(light, rows @ light.reshape(-1, 3) + own, body.hit, body.colours)
        roughness = shared_roughness(*costs(samples, lit, LEVELS, options.workers), near)
        mirrored = mirrored_by(samples, roughness, lit, options.workers)
        white = samples.at_points(lit.irradiance) / np.pi
        base = base_colours(samples, white, mirrored)
        error = mean_error(samples, base[:, None] * white[:, None] + mirrored)
        diffuse = samples.mean(samples.radiance - mirrored)
        lit, base = _scaled(lit, own, base, options.brightest)
        progress(k + 1, options.rounds)
    return Solved(lit, np.clip(base, 0, 1), roughness, error, plain_error=mean_error(samples, mean[:, None]))


def _scaled(lit: Lit, own: np.ndarray, base: np.ndarray, brightest: float) -> tuple[Lit, np.ndarray]:
    """Light and base colours with the scale that `brightest` sets; the object's own light keeps the scale of the pictures."""
    factor = max(float(np.quantile(base.max(1), BRIGHT_SHARE)), 1e-3) / brightest
    return replace(lit, light=lit.light * factor, irradiance=(lit.irradiance - own) * factor + own), base / factor


def without_saturated(samples: Samples) -> Samples:
    """Without pixels that may have been cut off."""
    return replace(samples, weight=np.where(samples.radiance.max(-1) > SATURATED, np.float32(0), samples.weight))


def mean_error(samples: Samples, shown: np.ndarray) -> float:
    """Mean absolute difference of what was seen and `shown` (P, V or 1, 3)."""
    seen = samples.weight > 0
    return float(np.abs(samples.radiance - shown)[seen].mean()) if seen.any() else 0.0


def shared_roughness(cost: np.ndarray, base: np.ndarray, near: np.ndarray) -> np.ndarray:
    """(P,) roughness: costs (P, R) are averaged over near points (P, K) of one colour. base (P, R, 3)."""
    first = np.sqrt(base[np.arange(len(cost)), cost.argmin(1)])
    out = np.empty_like(cost)
    for start in range(0, len(cost), 4096):
        part = slice(start, start + 4096)
        apart = np.linalg.norm(first[near[part]] - first[part, None], axis=-1)
        alike = np.exp(-((apart / ALIKE) ** 2)).astype(np.float32)
        out[part] = np.einsum("pk,pkr->pr", alike, cost[near[part]]) / alike.sum(1)[:, None]
    return between(out, LEVELS)


def near_points(positions: np.ndarray) -> np.ndarray:
    """(P, K) the nearest points of each, itself among them."""
    from scipy.spatial import cKDTree

    return cKDTree(positions).query(positions, max(2, round(NEAR * len(positions))))[1]


def palette(base: np.ndarray, by_hue: bool) -> np.ndarray:
    """(P, 3) the colour of each point's kind: geometric mean over the points that look alike. by_hue: brightness counts little, as long as
    it is still that of the light."""
    log = np.log(np.maximum(base, 0.01))
    bright = log.mean(1)
    features = np.column_stack([(0.4 if by_hue else 1.0) * bright, 2 * (log[:, 0] - bright), 2 * (log[:, 2] - bright)])
    label = k_means(features, KINDS)
    return np.exp(np.stack([log[label == k].mean(0) if (label == k).any() else log[0] for k in range(KINDS)]))[label]


def k_means(features: np.ndarray, count: int) -> np.ndarray:
    """(P,) labels; the first centres are those farthest from each other."""
    centres = [features.mean(0)]
    far = np.linalg.norm(features - centres[0], axis=1)
    for _ in range(count - 1):
        centres.append(features[int(np.argmax(np.minimum(far, np.quantile(far, 0.999))))])
        far = np.minimum(far, np.linalg.norm(features - centres[-1], axis=1))
    centre, label = np.array(centres), np.zeros(len(features), int)
    for _ in range(15):
        label = np.argmin(((features[:, None] - centre) ** 2).sum(-1), 1)
        for k in range(count):
            if (label == k).any():
                centre[k] = features[label == k].mean(0)
    return label
