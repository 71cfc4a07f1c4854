"""Parts for thin walls: the wall cut into patches that are about as large as it is bent, each with its own hull.

Cuts along the coordinate axes leave strips and triangles of a wall that is round both ways. Here the surface is clustered by place and by
the direction across the wall (k-means; Lloyd 1982, Arthur and Vassilvitskii 2007): inside and outside fall into the same patch, and a
corner between floor and wall parts two.
"""

from __future__ import annotations

import numpy as np

from stages.physics.mass import solid_moments
from stages.physics.overreach import Outward
from stages.physics.shapes import Shape, convex_hull
from stages.physics.surface_distance import samples

SAMPLES, COARSE = 40000, 4
"""points of the surface; every fourth of them finds the patches"""
TURN_OF_SIZE = 0.3
"""a wall at right angles counts as far away as this share of the size, times the root of 2"""
WALL_NEIGHBOURS = 16
THIN = 0.08
"""of the size: twice the volume by the area, which is the thickness of a wall"""
STARTS, STEPS = 4, 20
OVERLAP = 1.5
"""of the distance between samples: patches reach so far into each other, else gaps would stay"""
NEAREST = 4
POWER = 4


def is_thin(mesh: Shape) -> bool:
    """Whether it is all wall. Of a solid, patches would leave the middle empty."""
    return 2 * solid_moments(mesh).content < THIN * mesh.size * mesh.area


def patches(mesh: Shape, count: int, outward: Outward, seed: int = 0) -> list[Shape]:
    """At most `count` hulls of patches that cover the surface, of several starts those that bridge the least."""
    points, face = samples(mesh, SAMPLES, seed)
    features = np.c_[points, TURN_OF_SIZE * mesh.size * _across(points, mesh.planes[0][face])]
    step, best, least = float(np.sqrt(mesh.area / SAMPLES)), [], np.inf
    for start in range(STARTS):
        found = _hulls(
            points, features, _centres(features[::COARSE], count, np.random.default_rng([seed, start])), step
        )
        bridged = float(sum(outward.bridged(p) ** POWER for p in found))
        if bridged < least:
            best, least = found, bridged
    return best


def _across(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(N, 6) of each point the mean of its neighbours' n n^T, which has no sign: both sides of a wall are alike."""
    from scipy.spatial import cKDTree

    a, b = np.triu_indices(3)
    products = normals[:, a] * normals[:, b] * np.where(a == b, 1.0, np.sqrt(2.0))
    few = slice(None, None, 10)
    near = cKDTree(points[few]).query(points, WALL_NEIGHBOURS)[1]
    return products[few][near].mean(1)


def _centres(x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, D) of k-means."""
    from scipy.spatial import cKDTree

    centres, away = [x[rng.integers(len(x))]], np.full(len(x), np.inf)
    for _ in range(count - 1):
        away = np.minimum(away, ((x - centres[-1]) ** 2).sum(1))
        centres.append(x[rng.choice(len(x), p=away / away.sum())])
    out = np.array(centres)
    for _ in range(STEPS):
        own = cKDTree(out).query(x)[1]
        size = np.bincount(own, minlength=count)[:, None]
        total = np.stack([np.bincount(own, x[:, k], count) for k in range(x.shape[1])], 1)
        out = np.where(size > 0, total / np.maximum(size, 1), out)
    return out


def _hulls(points: np.ndarray, x: np.ndarray, centres: np.ndarray, step: float) -> list[Shape]:
    """Of the points nearest to each centre, and of those of its neighbours that lie close to the border."""
    from scipy.spatial import cKDTree

    away, near = cKDTree(centres).query(x, min(NEAREST, len(centres)))
    away, near = away.reshape(len(x), -1), near.reshape(len(x), -1)
    apart = np.linalg.norm(centres[near] - centres[near[:, :1]], axis=2)
    border = (away**2 - away[:, :1] ** 2) / (2 * np.maximum(apart, 1e-12)) < OVERLAP * step
    border[:, 0] = True
    out = []
    for k in range(len(centres)):
        own = points[((near == k) & border).any(1)]
        try:
            out.append(convex_hull(own))
        except ValueError:  # nothing, or a flat sliver
            continue
    return out
