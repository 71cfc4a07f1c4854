"""Linear equations for the light, as normal equations over its D pixels, and their solution without negative light."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from stages.material.fit import FLOOR, Lit, Samples
from stages.material.gloss import DRAWS, F0, mirrored
from stages.material.light import four_cells, neighbour_differences

STRAY = 0.15
"""logarithm of a point's base colour over that of its kind at which the point counts half"""
_PART = 256


@dataclass(frozen=True)
class Believed:
    """What is taken for true of the points: base (P, 3) and roughness (P,), kind (P, 3) base colours of their kinds, diffuse (P, 3) mean
    radiance less what is mirrored."""

    base: np.ndarray
    kind: np.ndarray
    roughness: np.ndarray
    diffuse: np.ndarray


def solve_light(
    samples: Samples,
    body: Lit,
    irradiance: tuple[np.ndarray, np.ndarray],
    believed: Believed,
    smooth: float,
    one_colour: float,
) -> np.ndarray:
    """(H, 2H, 3) light, never negative. `body`: hit and colours are read. irradiance: `irradiance_rows` and `own_irradiance`."""
    rows, own = irradiance
    base, kind, diffuse = believed.base, believed.kind, believed.diffuse
    height = round(np.sqrt(rows.shape[1] / 2))
    tie, here, own_here = neighbour_differences(height), samples.at_points(rows), samples.at_points(own)
    left, rights = _view_equations(samples, body, believed.roughness, height)
    out = np.zeros((rows.shape[1], 3))
    for c in range(3):
        more, given = _kind_equations(here, own_here[:, c], diffuse[:, c], base[:, c], kind=kind[:, c])
        total = left + one_colour * more
        scale = np.trace(total) / len(total)
        out[:, c] = never_negative(
            total + scale * (smooth * tie + 1e-9 * np.eye(len(total))), rights[:, c] + one_colour * given
        )
    return out.reshape(height, 2 * height, 3)


def _view_equations(samples: Samples, body: Lit, roughness: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """(D, D), (D, 3) of radiance minus its mean over the views, which no base colour explains."""
    count = 2 * height * height
    left, right = np.zeros((count, count)), np.zeros((count, 3))
    for first in range(0, len(roughness), _PART):
        s = samples.part(slice(first, first + _PART))
        table, known = np.zeros((*s.weight.shape, count), np.float32), np.zeros(s.radiance.shape, np.float32)
        _rows_of_mirrors(
            s.vertex,
            s.normal,
            s.to_view,
            s.weight,
            roughness=roughness[first : first + _PART],
            hit=body.hit,
            colours=body.colours,
            draws=DRAWS,
            height=height,
            table=table,
            known=known,
        )
        share = s.weight / np.maximum(s.weight.sum(1), 1e-9)[:, None]
        table -= np.einsum("pv,pvd->pd", share, table)[:, None]
        seen = s.radiance - known
        seen = seen - s.mean(seen)[:, None]
        w = np.sqrt(s.weight / (s.mean(s.radiance).mean(-1)[:, None] + FLOOR))
        use = s.weight.ravel() > 0
        table = table.reshape(-1, count)[use] * w.ravel()[use, None]
        left += table.T @ table
        right += table.T @ (seen.reshape(-1, 3)[use] * w.ravel()[use, None])
    return left, right


def _kind_equations(
    rows: np.ndarray, own: np.ndarray, diffuse: np.ndarray, base: np.ndarray, kind: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(D, D), (D,) of E = pi D / base colour for points that have the base colour of their kind: E irradiance, D diffuse radiance."""
    apart = np.log((base + 0.02) / (kind + 0.02))
    w = 1 / np.sqrt((1 + (apart / STRAY) ** 2) * (np.maximum(diffuse, 0) + FLOOR))
    table = (rows * (kind * w / np.pi)[:, None]).astype(np.float32)
    given = ((diffuse - kind * own / np.pi) * w).astype(np.float32)
    return (table.T @ table).astype(float), (table.T @ given).astype(float)


@numba.njit(cache=True, nogil=True)
def _rows_of_mirrors(vertex, normal, to_view, weight, roughness, hit, colours, draws, height, table, known):
    """How much of each pixel of the light a point mirrors to each view (P, V, D), and what it mirrors of the object itself (P, V, 3)."""
    scratch = np.empty((draws.shape[0], 5))
    ways, weight_a, weight_b = scratch[:, :3], scratch[:, 3], scratch[:, 4]
    width = 2 * height
    for p in range(len(vertex)):
        for v in range(to_view.shape[1]):
            if weight[p, v] <= 0:
                continue
            mirrored(normal[p], to_view[p, v], roughness[p], draws, ways, weight_a, weight_b)
            for k in range(draws.shape[0]):
                w = F0 * weight_a[k] + weight_b[k]
                if w == 0:
                    continue
                r0, r1, c0, c1, fr, fc = four_cells(ways[k, 0], ways[k, 1], ways[k, 2], height)
                stands = hit[vertex[p], (r1 if fr > 0.5 else r0) * width + (c1 if fc > 0.5 else c0)]
                if stands >= 0:
                    for c in range(3):
                        known[p, v, c] += w * colours[stands, c]
                    continue
                table[p, v, r0 * width + c0] += w * (1 - fr) * (1 - fc)
                table[p, v, r0 * width + c1] += w * (1 - fr) * fc
                table[p, v, r1 * width + c0] += w * fr * (1 - fc)
                table[p, v, r1 * width + c1] += w * fr * fc


@numba.njit(cache=True, nogil=True)
def never_negative(left, right, sweeps=400):
    """x >= 0 that solves left x = right (D, D) positive definite in the least squares sense, by coordinate descent."""
    x = np.zeros(len(right))
    slope = -right.copy()
    for _ in range(sweeps):
        most = 0.0
        for i in range(len(x)):
            new = max(x[i] - slope[i] / left[i, i], 0.0)
            step = new - x[i]
            if step != 0.0:
                x[i] = new
                for j in range(len(x)):
                    slope[j] += step * left[i, j]
                most = max(most, abs(step))
        if most < 1e-5:
            break
    return x
