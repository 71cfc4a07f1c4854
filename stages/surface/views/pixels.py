"""Pixels to render: colour, ray and where it meets the present surface, from all left and right pictures, more of them near texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.surface.views.cameras import eyes, hidden_of_eyes
from stages.surface.views.views import View


@dataclass(frozen=True)
class Pixels:
    """camera (N,) as in `cameras.pack`, colour (N, 3) float32 0-1, eye (N, 3), ray (N, 3) unit, depth (N,) metres along the ray."""

    camera: np.ndarray
    colour: np.ndarray
    eye: np.ndarray
    ray: np.ndarray
    depth: np.ndarray

    def __len__(self) -> int:
        return len(self.camera)


def pick(
    views: Sequence[View],
    vertices: np.ndarray,
    faces: np.ndarray,
    per_camera: int,
    edge_px: float,
    seed: int,
    workers: int,
) -> Pixels:
    """Up to `per_camera` pixels of each eye that see the mesh, half of them drawn by image gradient.

    Pixels within `edge_px` of the mesh's silhouette, of a depth step or of what stands before the object are left out: there the colour
    mixes two surfaces.
    """
    caster = Caster(vertices, faces)
    pictures, hidden = [p for v in views for p in (v.left, v.right)], hidden_of_eyes(views, round(edge_px))

    def one(item) -> Pixels:
        c, (pose, rig) = item
        hit = caster.view(pose, rig)
        usable = _inner(hit["t"], edge_px)
        if (veiled := hidden[c]) is not None:
            usable &= ~veiled
        rows, cols = np.nonzero(usable)
        rng = np.random.default_rng((seed, c))
        chosen = _draw(rows, cols, pictures[c], per_camera, rng=rng)
        v, u = rows[chosen], cols[chosen]
        ray = rig.rays(np.stack([u, v], -1)) @ pose[:3, :3].T
        length = np.linalg.norm(ray, axis=1)
        return Pixels(
            np.full(len(u), c, np.int32),
            pictures[c][v, u].astype(np.float32) / 255,
            np.broadcast_to(pose[:3, 3], ray.shape).copy(),
            ray / length[:, None],
            depth=hit["t"][v, u] * length,
        )

    parts = list(ordered_map(one, enumerate(eyes(views)), workers))
    return Pixels(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("camera", "colour", "eye", "ray", "depth"))
    )


def _inner(depth: np.ndarray, edge_px: float) -> np.ndarray:
    import cv2

    hit = np.isfinite(depth)
    z = np.where(hit, depth, 0).astype(np.float32)
    size = 2 * round(edge_px) + 1
    kernel = np.ones((size, size), np.uint8)
    step = cv2.dilate(z, kernel) - cv2.erode(z, kernel) > 0.02 * z
    return (cv2.erode(hit.astype(np.uint8), kernel) > 0) & ~step


def _draw(rows: np.ndarray, cols: np.ndarray, picture: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    import cv2

    if len(rows) <= count:
        return np.arange(len(rows))
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), None, 1.0)
    slope = np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))[rows, cols]
    chance = 0.5 / len(rows) + 0.5 * slope / max(float(slope.sum()), 1e-6)
    return np.sort(rng.choice(len(rows), count, replace=False, p=chance / chance.sum()))
