"""In which poses an object comes to rest, and how likely each is when it is put down in any orientation without a push.

Quasi-static toppling over the faces of the convex hull (Goldberg, Mirtich, Zhuang, Craig, Carlisle and Canny 1999): a face on which the
centre of mass does not stand lets it roll over one of its edges to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.geometry.directions import sphere
from stages.physics.shapes import Shape

DIRECTIONS = 4000
SAME_DEG = 10.0
"""faces closer than this are one pose: the hull of a round side has many"""
LEAST_SHARE = 0.02


@dataclass(frozen=True)
class StablePose:
    """up (3,) unit, in the frame of the hull; probability 0 to 1."""

    up: np.ndarray
    probability: float


def stable_poses(hull: Shape, centre: np.ndarray) -> list[StablePose]:
    """Most likely first; those below `LEAST_SHARE` are left out. `centre` (3,) of mass, inside the hull."""
    normal, offset = hull.planes
    height = offset - normal @ centre
    rest = _next_faces(hull, normal, centre)
    for _ in range(int(np.ceil(np.log2(len(rest)))) + 1):
        rest = rest[rest]
    down = sphere(DIRECTIONS)
    facing = down @ normal.T
    reach = np.where(facing > 1e-12, height / np.maximum(facing, 1e-12), np.inf)
    share = np.bincount(rest[reach.argmin(1)], minlength=len(normal)) / len(down)
    return _grouped(normal, share)


def _next_faces(hull: Shape, normal: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(F,) the face that follows when it topples; itself where it stands."""
    faces = hull.faces
    count = len(hull.vertices)
    across = {int(a) * count + int(b): k for k, f in enumerate(faces) for a, b in zip(f, np.roll(f, -1), strict=True)}
    out = np.arange(len(faces))
    for k, face in enumerate(faces):
        a, b = hull.vertices[face], hull.vertices[np.roll(face, -1)]
        beyond = (np.cross(normal[k], b - a) / np.linalg.norm(b - a, axis=1, keepdims=True) * (centre - a)).sum(1)
        edge = int(beyond.argmin())
        if beyond[edge] < 0:
            out[k] = across.get(int(np.roll(face, -1)[edge]) * count + int(face[edge]), k)
    return out


def _grouped(normal: np.ndarray, share: np.ndarray) -> list[StablePose]:
    left, out = share.copy(), []
    while left.max() > 0:
        k = int(left.argmax())
        near = normal @ normal[k] > np.cos(np.radians(SAME_DEG))
        near[k] = True  # a face without area has no normal
        if normal[k].any():
            out.append(StablePose(-normal[k], float(left[near].sum())))
        left[near] = 0
    return sorted((p for p in out if p.probability >= LEAST_SHARE), key=lambda p: -p.probability) or out[:1]
