"""From light and gloss of some points to maps: the base colour of every texel, and roughness between the points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stages.core.parallel import ordered_map
from stages.core.texels.exposure import linear_from_srgb, srgb_from_linear
from stages.core.texels.fill import fill_background, fill_unseen
from stages.core.twin_frame import TWIN_FROM_OBJECT, turned
from stages.material.config import MaterialConfig
from stages.material.fit import Lit, Samples, base_colours, mirrored_by
from stages.material.gather import Seen
from stages.material.occlusion import what_stands_before
from stages.material.solve import ALIKE, Body, Options, Solved, solve, without_saturated

ROUND = 8
"""points from which a texel, or a vertex, takes what it has not by itself"""
LEAST_VIEWS = 3
_PART = 8192


@dataclass(frozen=True)
class Material:
    """base (S, S, 3) uint8 sRGB, roughness (S, S) uint8, light (H, 2H, 3), error as in `Solved`, share of texels without a view."""

    base: np.ndarray
    roughness: np.ndarray
    light: np.ndarray
    error: float
    plain_error: float
    unseen: float


def solve_maps(
    seen: Seen, config: MaterialConfig, workers: int, seed: int, progress: Callable[[int, int, str], None]
) -> Material:
    """Everything. Raises ValueError where too little is seen from three views."""
    pick, samples = _points(seen, config, seed)
    places = seen.texels.position[pick].astype(float)
    mesh = seen.mesh
    progress(0, 1, "what the object hides from itself")
    normals = turned(mesh.normals, TWIN_FROM_OBJECT)
    hit = what_stands_before(
        turned(mesh.vertices, TWIN_FROM_OBJECT), mesh.faces, normals, config.light_height, workers=workers
    )
    body = Body(normals, hit, _round(places, samples.mean(samples.radiance), mesh.vertices).astype(np.float32))

    def note(k, total):
        return progress(k, total, "light and materials in turn")

    solved = solve(
        samples,
        body,
        places,
        Options(config.light_height, config.rounds, config.brightest, workers=workers),
        progress=note,
    )
    roughness = _roughness(seen, pick, solved, linear_from_srgb(mesh.texture.reshape(-1, 3)[seen.texels.index]))
    base, used = _base(seen, roughness, solved.lit, workers, progress=progress)
    fill_unseen(base, used, seen.texels.face, seen.texels.weight, vertices=mesh.vertices, faces=mesh.faces)
    base = np.clip(base, 0, 1)
    grey = np.repeat(_roughness(seen, pick, solved, base)[:, None], 3, 1)
    return Material(
        _picture(seen, srgb_from_linear(base)),
        _picture(seen, 255 * grey)[..., 0].copy(),
        solved.lit.light,
        solved.error,
        plain_error=solved.plain_error,
        unseen=float(1 - used[seen.texels.inside].mean()),
    )


def _points(seen: Seen, config: MaterialConfig, seed: int) -> tuple[np.ndarray, Samples]:
    """Texels that several views show, evenly drawn, and what they show."""
    inside = np.flatnonzero(seen.texels.inside)
    pick = np.sort(np.random.default_rng(seed).choice(inside, min(config.points, len(inside)), replace=False))
    samples = seen.samples(pick)
    enough = (without_saturated(samples).weight > 0).sum(1) >= LEAST_VIEWS
    if enough.sum() < 100:
        raise ValueError(f"{int(enough.sum())} of {len(pick)} points of the surface are seen by {LEAST_VIEWS} pictures")
    return pick[enough], samples.part(enough)


def _round(places: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Mean of `values` (P, C) over the nearest of `places` (P, 3)."""
    from scipy.spatial import cKDTree

    return values[cKDTree(places).query(at, ROUND)[1]].mean(1)


def _roughness(seen: Seen, pick: np.ndarray, solved: Solved, colours: np.ndarray) -> np.ndarray:
    """(M,) of every texel: that of near points of its colour; colours (M, 3) linear."""
    from scipy.spatial import cKDTree

    colour = np.sqrt(np.float32(colours))
    distance, near = cKDTree(seen.texels.position[pick]).query(seen.texels.position, ROUND)
    apart = np.linalg.norm(colour[pick][near] - colour[:, None], axis=-1)
    weight = np.exp(-((apart / ALIKE) ** 2)) / (distance + distance.mean()) + 1e-6
    return (weight * solved.roughness[near]).sum(1) / weight.sum(1)


def _base(
    seen: Seen, roughness: np.ndarray, lit: Lit, workers: int, progress: Callable[[int, int, str], None]
) -> tuple[np.ndarray, np.ndarray]:
    """(M, 3) float32 base colours, linear, and (M,) bool whether a view showed the texel."""
    count = len(roughness)
    base, used = np.zeros((count, 3), np.float32), np.zeros(count, bool)

    def one(first: int) -> None:
        pick = np.arange(first, min(first + _PART, count))
        samples = seen.samples(pick)
        # a texel that every view shows cut off is still at least that bright
        whole = without_saturated(samples).weight
        samples = replace(samples, weight=np.where((whole > 0).any(1)[:, None], whole, samples.weight))
        mirrored = mirrored_by(samples, roughness[pick], lit, 1)
        base[pick] = np.clip(base_colours(samples, samples.at_points(lit.irradiance) / np.pi, mirrored), 0, 1)
        used[pick] = (samples.weight > 0).any(1)

    starts = range(0, count, _PART)
    for k, _ in enumerate(ordered_map(one, starts, workers)):
        progress(k + 1, len(starts), "base colours")
    return base, used


def _picture(seen: Seen, values: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 of what the texels (M, 3) have."""
    size = seen.texels.size
    out, painted = np.zeros((size**2, 3), np.uint8), np.zeros(size**2, bool)
    out[seen.texels.index], painted[seen.texels.index] = np.clip(np.rint(values), 0, 255).astype(np.uint8), True
    return fill_background(out.reshape(size, size, 3), painted.reshape(size, size))
