"""A shape whose signed distance is known near its surface, to train a field on."""

from __future__ import annotations

import numpy as np

CENTRE, RADIUS = np.array([0.53, 0.48, 0.51]), 0.27
NEAR = 0.006


def radius(direction: np.ndarray) -> np.ndarray:
    """(N, 1) distance of the surface from the centre: a sphere with bumps of a tenth of its radius."""
    return RADIUS + 0.03 * np.sin(6 * direction[:, :1]) * np.sin(5 * direction[:, 1:2])


def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As SurfaceSamples.draw: points, distances along the ray from the centre, weights, normals of the first three quarters."""
    near = 3 * count // 4
    direction = rng.normal(size=(near, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    away = np.where(np.arange(near) % 3 == 0, 0, rng.normal(0, NEAR, near))
    on = CENTRE + (radius(direction) + away[:, None]) * direction
    far = rng.random((count - near, 3))
    reach = np.linalg.norm(far - CENTRE, axis=1, keepdims=True)
    target = np.concatenate([away, (reach - radius((far - CENTRE) / reach))[:, 0]])
    weight = np.concatenate([np.ones(near), np.full(count - near, 0.1)])
    return np.concatenate([on, far]).astype(np.float32), target.astype(np.float32), weight.astype(np.float32), direction


def error(sdf, count: int = 4000) -> float:
    """Median error of `sdf(points)` near the surface, shares of the cube's edge."""
    x, target, _, _ = draw(count, np.random.default_rng(9))
    near = 3 * count // 4
    return float(np.median(np.abs(sdf(x[:near]) - target[:near])))
