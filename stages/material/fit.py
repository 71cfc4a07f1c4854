"""Per point: the base colour and roughness that explain what all views saw of it, for a light that is given.

For one roughness the model is linear in the base colour, so that all of `LEVELS` are tried and the base colour follows; what remains is a
table of costs, which is averaged over points that are near and of one colour before the best is taken.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from stages.material.gloss import DRAWS, F0, mirror_light

FLOOR = 0.05
"""radiance, of a white that is 1, below which an error counts as if the picture were that bright: noise"""
MOST = 4.0
"""of a base colour while light and base colours are only known in proportion"""
DOUBT = 2.0
"""an error of this many typical ones counts half"""
_PART = 512


@dataclass(frozen=True)
class Samples:
    """What V views saw of P points, twin axes: corner (P, 3) int32 vertices round a point with their share (P, 3), normal (P, 3) float64,
    to_view (P, V, 3) float64 unit, radiance (P, V, 3) float32 linear, weight (P, V) float32, 0 = not seen."""

    corner: np.ndarray
    share: np.ndarray
    normal: np.ndarray
    to_view: np.ndarray
    radiance: np.ndarray
    weight: np.ndarray

    def part(self, pick: np.ndarray | slice) -> Samples:
        """Of some points."""
        return Samples(
            self.corner[pick],
            self.share[pick],
            self.normal[pick],
            self.to_view[pick],
            radiance=self.radiance[pick],
            weight=self.weight[pick],
        )

    @property
    def vertex(self) -> np.ndarray:
        """(P,) int32 the nearest vertex, whose occlusion a point takes for what it mirrors."""
        return self.corner[np.arange(len(self.corner)), self.share.argmax(1)]

    def at_points(self, of_vertices: np.ndarray) -> np.ndarray:
        """(P, C) values between those of the vertices (N, C)."""
        return sum((of_vertices[self.corner[:, k]] * self.share[:, k, None] for k in range(3)), np.zeros(1, np.float32))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(P, C) of (P, V, C): mean over the views by weight."""
        return (values * self.weight[..., None]).sum(1) / np.maximum(self.weight.sum(1), 1e-9)[:, None]


@dataclass(frozen=True)
class Lit:
    """The light and what is known of the object in it: light (H, 2H, 3), irradiance (N, 3) of the vertices, hit (N, 2 H^2) int32 and
    colours (N, 3) float32 of the vertices (see occlusion.py)."""

    light: np.ndarray
    irradiance: np.ndarray
    hit: np.ndarray
    colours: np.ndarray


def in_parts(work, count: int, workers: int) -> None:
    """`work(slice)` for all of 0..count on the workers."""
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        list(pool.map(work, [slice(k, min(k + _PART, count)) for k in range(0, count, _PART)]))


def costs(samples: Samples, lit: Lit, levels: np.ndarray, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """(P, R) float32 costs and (P, R, 3) base colours of each roughness in `levels` (R,)."""
    cost = np.zeros((len(samples.corner), len(levels)), np.float32)
    base, irradiance = np.zeros((*cost.shape, 3), np.float32), samples.at_points(lit.irradiance)

    def one(part: slice) -> None:
        s = samples.part(part)
        _try_all(
            s.vertex,
            s.normal,
            s.to_view,
            s.radiance,
            weight=s.weight,
            irradiance=irradiance[part],
            light=lit.light,
            hit=lit.hit,
            colours=lit.colours,
            draws=DRAWS,
            levels=levels,
            cost=cost[part],
            base=base[part],
        )

    in_parts(one, len(cost), workers)
    return cost, base


@numba.njit(cache=True, nogil=True)
def _try_all(vertex, normal, to_view, radiance, weight, irradiance, light, hit, colours, draws, levels, cost, base):
    views = to_view.shape[1]
    a, b = np.empty((views, 3)), np.empty((views, 3))
    scratch = np.empty((draws.shape[0], 5))
    for p in range(len(vertex)):
        stands = hit[vertex[p]]
        for i in range(len(levels)):
            for v in range(views):
                if weight[p, v] > 0:
                    mirror_light(
                        normal[p], to_view[p, v], levels[i], draws, light, stands, colours, scratch, a[v], b[v]
                    )
            total = 0.0
            for c in range(3):
                diffuse, up, down = irradiance[p, c] / np.pi, 0.0, 1e-9
                for v in range(views):
                    if weight[p, v] > 0:
                        w = weight[p, v] / (radiance[p, v, c] + FLOOR)
                        up += w * diffuse * (radiance[p, v, c] - F0 * a[v, c] - b[v, c])
                        down += w * diffuse * diffuse
                own = min(max(up / down, 0.0), MOST)
                base[p, i, c] = own
                for v in range(views):
                    if weight[p, v] > 0:
                        e = radiance[p, v, c] - own * diffuse - F0 * a[v, c] - b[v, c]
                        total += weight[p, v] / (radiance[p, v, c] + FLOOR) * e * e
            cost[p, i] = total


def mirrored_by(samples: Samples, roughness: np.ndarray, lit: Lit, workers: int) -> np.ndarray:
    """(P, V, 3) float32 what the points mirror to the views; roughness (P,)."""
    out = np.zeros(samples.radiance.shape, np.float32)

    def one(part: slice) -> None:
        s = samples.part(part)
        _mirrored_by(
            s.vertex,
            s.normal,
            s.to_view,
            s.weight,
            roughness=roughness[part],
            light=lit.light,
            hit=lit.hit,
            colours=lit.colours,
            draws=DRAWS,
            out=out[part],
        )

    in_parts(one, len(out), workers)
    return out


@numba.njit(cache=True, nogil=True)
def _mirrored_by(vertex, normal, to_view, weight, roughness, light, hit, colours, draws, out):
    scratch, a, b = np.empty((draws.shape[0], 5)), np.empty(3), np.empty(3)
    for p in range(len(vertex)):
        for v in range(to_view.shape[1]):
            if weight[p, v] > 0:
                mirror_light(
                    normal[p], to_view[p, v], roughness[p], draws, light, hit[vertex[p]], colours, scratch, a, b
                )
                for c in range(3):
                    out[p, v, c] = F0 * a[c] + b[c]


def base_colours(samples: Samples, diffuse: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """(P, 3) base colours by least squares that doubt what does not fit (Cauchy). diffuse (P, 3): radiance of a white that is matt."""
    rest = samples.radiance - mirrored
    trust = samples.weight / (samples.radiance.mean(-1) + FLOOR)
    out, weight = np.zeros((len(diffuse), 3)), trust
    for _ in range(3):
        mean = (rest * weight[..., None]).sum(1) / np.maximum(weight.sum(1), 1e-9)[:, None]
        out = np.clip(mean / np.maximum(diffuse, 1e-4), 0, MOST)
        error = np.abs(rest - mean[:, None]).max(-1) / np.sqrt(samples.radiance.mean(-1) + FLOOR)
        typical = np.maximum(_median_seen(error, samples.weight), 0.01)
        weight = trust / (1 + (error / (DOUBT * typical[:, None])) ** 2)
    return out


def _median_seen(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(P,) median of `values` (P, V) where weight > 0; 1 where it is nowhere."""
    ordered = np.sort(np.where(weight > 0, values, np.inf), 1)
    middle = np.maximum((weight > 0).sum(1) - 1, 0) // 2
    return np.where((weight > 0).any(1), ordered[np.arange(len(values)), middle], 1.0)


def between(cost: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(P,) the value of `levels` (R,) with the least cost (P, R), finer than the levels by a parabola."""
    k = np.argmin(cost, 1)
    at = np.clip(k, 1, len(levels) - 2)
    rows = np.arange(len(cost))
    left, middle, right = (cost[rows, at + d].astype(float) for d in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 1e-12, 0.5 * (left - right) / np.maximum(bend, 1e-12), 0)
    shift = np.clip(np.where(k == at, shift, np.sign(k - at)), -1, 1)
    return np.interp(at + shift, np.arange(len(levels)), levels)
