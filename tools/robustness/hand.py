"""A hand of capsules with its forearm: one mesh, in a frame of its own.

Grip frame: metres. The hand lies round the y axis at the origin: the arm comes along +x (`from_the_side`) or along +y (`from_below`).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tools.capture_rendering.objects import Mesh

SKIN = np.array([0.52, 0.30, 0.21])
FINGER_M, PALM_M, ARM_M, ARM_LENGTH_M = 0.0085, 0.014, 0.028, 0.5
_WIDEST_GRIP_M = 0.05


def from_the_side(radius_m: float) -> Mesh:
    """Fingers that bend round a bar of `radius_m` along y."""
    g = min(radius_m, _WIDEST_GRIP_M)
    bones = [((g + 0.03, h, 0.0), (g + 0.02, h, 0.025), PALM_M) for h in (-0.03, -0.01, 0.01, 0.03)]
    bones += [
        ((g + 0.03, -0.035, 0.01), (g + 0.03, 0.035, 0.01), PALM_M),
        ((g + 0.03, 0, 0.01), (g + ARM_LENGTH_M, 0.05, 0.05), ARM_M),
    ]
    for h in (-0.033, -0.011, 0.011, 0.033):
        bones += _chain([_round(g + FINGER_M, a, 1.3 * h if k else h) for k, a in enumerate((30, 80, 125, 160))])
    bones += _chain([_round(g + FINGER_M, a, h) for a, h in ((-10, -0.03), (-55, -0.035), (-100, -0.03))])
    return _joined(bones)


def from_below(radius_m: float, bottom_m: float) -> Mesh:
    """Finger tips round the lower end, at y = `bottom_m`, of a body of `radius_m`."""
    g = min(radius_m, _WIDEST_GRIP_M)
    root = bottom_m + 0.03
    bones = [
        ((0, root, 0), (0.02, root + 0.02, 0), 0.03),
        ((0, root + 0.02, 0), (0.05, root + ARM_LENGTH_M, 0.02), ARM_M),
    ]
    for a in (-50, -20, 15, 45, 180):
        bones += _chain(
            [_round(r, a, y) for r, y in ((0.012, root), (g + FINGER_M, root - 0.02), (g + FINGER_M, root - 0.055))]
        )
    return _joined(bones)


def skin(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(N, 3) points -> (N, 3) linear RGB: skin, and a sleeve over the far part of the arm."""
    from tools.capture_rendering.paints import solid

    colour = SKIN * (0.8 + 0.4 * solid(x, 217, 6.0, 0.1))[:, None]
    sleeve = np.array([0.10, 0.13, 0.22]) * (0.6 + 0.8 * solid(x, 218, 2.0, 0.05))[:, None]
    return np.where((np.linalg.norm(x, axis=1) > 0.27)[:, None], sleeve, colour)


def _round(radius: float, degrees: float, height: float) -> tuple[float, float, float]:
    a = np.radians(degrees)
    return radius * np.cos(a), height, radius * np.sin(a)


def _chain(joints: list) -> list:
    return [(a, b, FINGER_M) for a, b in pairwise(joints)]


def _joined(bones: list) -> Mesh:
    """The capsules beside each other: they may cut each other, as only their outside is ever seen."""
    import trimesh

    parts = []
    for a, b, radius in bones:
        a, b = np.array(a, float), np.array(b, float)
        length = float(np.linalg.norm(b - a))
        part = trimesh.creation.capsule(length, radius, count=[16, 16])
        part.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], (b - a) / max(length, 1e-9)))
        part.apply_translation((a + b) / 2 - part.bounds.mean(0))
        parts.append(part)
    mesh = trimesh.util.concatenate(parts)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)
