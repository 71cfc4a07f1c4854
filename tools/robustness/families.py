"""Families of shapes: each name makes another member with every generator that it is given.

Signed distance functions on a grid, in units of the object's size, meshed and brought to the extent asked for. Object frame: y DOWN.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.core.synthetic.shape import cylinder, ellipsoid, rounded_box, smooth_min, torus
from tools.capture_rendering.objects import Mesh, from_file, mesh_of

Distance = Callable[[np.ndarray], np.ndarray]
_CELLS = 110


def mesh_in_family(name: str, rng: np.random.Generator, extent_m: float, cells: int = _CELLS) -> Mesh:
    """A member of FAMILIES, or a mesh file (z up), its largest extent `extent_m`, its box's centre in the origin, y down.

    Raises ValueError for a name that is neither.
    """
    if name in FAMILIES:
        distance, half = FAMILIES[name](rng)
        vertices, faces = mesh_of(distance, half, 2 * max(half) / cells)
    elif Path(name).is_file():
        vertices, faces = from_file(Path(name))
    else:
        raise ValueError(f"{name!r} is neither a mesh file nor one of {', '.join(FAMILIES)}")
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) * (extent_m / (high - low).max()), faces


def _lathe(rng: np.random.Generator):
    from scipy.interpolate import CubicSpline

    heights = np.linspace(-1, 1, 6)
    radius = CubicSpline(heights, rng.uniform(0.2, 0.62, 6))

    def distance(x: np.ndarray) -> np.ndarray:
        around = 0.75 * (np.hypot(x[..., 0], x[..., 2]) - np.maximum(radius(np.clip(x[..., 1], -1, 1)), 0.1))
        return np.maximum(around, np.abs(x[..., 1]) - 0.98)

    return distance, (0.75, 1.0, 0.75)


def _box(rng: np.random.Generator):
    half = tuple(float(h) for h in rng.permutation([1.0, rng.uniform(0.5, 1.0), rng.uniform(0.25, 0.8)]))
    rounding = float(rng.uniform(0.01, 0.25) * min(half))
    return (lambda x: rounded_box(x, half, rounding)), half


def _superquadric(rng: np.random.Generator):
    e1, e2 = rng.uniform(0.35, 1.4, 2)
    half = np.array([rng.uniform(0.5, 1), rng.uniform(0.5, 1), rng.uniform(0.5, 1)])

    def distance(x: np.ndarray) -> np.ndarray:
        a = np.abs(x / half) + 1e-9
        f = ((a[..., 0] ** (2 / e2) + a[..., 2] ** (2 / e2)) ** (e2 / e1) + a[..., 1] ** (2 / e1)) ** (e1 / 2)
        return (f - 1) * 0.4 * half.min()

    return distance, tuple(half)


def _rod(rng: np.random.Generator):
    """Lies along x: a grip and a thinner shaft, slightly bent, a head at times."""
    grip, shaft = rng.uniform(0.09, 0.17), rng.uniform(0.03, 0.07)
    bend, ribs, head = rng.uniform(-0.08, 0.08), int(rng.integers(0, 9)), rng.uniform(0.06, 0.2) * (rng.random() < 0.5)

    def distance(x: np.ndarray) -> np.ndarray:
        along = (x - np.stack([0 * x[..., 0], 0 * x[..., 0], bend * x[..., 0] ** 2], -1))[..., [1, 0, 2]]
        ribbed = 0.08 * grip * np.cos(ribs * np.arctan2(along[..., 2], along[..., 0])) if ribs > 2 else 0.0
        thick, thin = (
            cylinder(along - [0, -0.5, 0], grip, 0.45, 0.4 * grip),
            cylinder(along - [0, 0.4, 0], shaft, 0.55, 0.01),
        )
        out = smooth_min(thick + ribbed, thin, 0.04)
        return (
            smooth_min(out, rounded_box(along - [0, 0.88, 0], (max(head, 0.05), 0.08, 0.05), 0.02), 0.03)
            if head
            else out
        )

    return distance, (1.0, 0.3, 0.3)


def _mug(rng: np.random.Generator):
    r, h, wall = rng.uniform(0.45, 0.6), rng.uniform(0.5, 0.75), rng.uniform(0.04, 0.07)
    ear, thick = rng.uniform(0.25, 0.34), rng.uniform(0.05, 0.09)

    def distance(x: np.ndarray) -> np.ndarray:
        outer, hollow = cylinder(x, r, h, 0.03), cylinder(x - [0, -0.12, 0], r - wall, h + 0.02, 0.06)
        return np.maximum(
            smooth_min(outer, np.maximum(torus(x - [r + 0.04, 0.02, 0], ear, thick), -hollow), 0.05), -hollow
        )

    return distance, (r + 0.5, h + 0.02, r + 0.02)


def _bowl(rng: np.random.Generator):
    deep, wall, foot = rng.uniform(0.4, 0.75), rng.uniform(0.05, 0.09), rng.uniform(0.25, 0.45)

    def distance(x: np.ndarray) -> np.ndarray:
        shell = np.abs(ellipsoid(x - [0, -deep / 2, 0], (1 - wall, deep, 1 - wall))) - wall / 2
        shell = np.maximum(shell, -(x[..., 1] + deep / 2))
        return smooth_min(shell, cylinder(x - [0, deep / 2 - 0.02, 0], foot, 0.05, 0.015), 0.03)

    return distance, (1.05, deep / 2 + 0.1, 1.05)


def _concave(rng: np.random.Generator):
    """A block with a slot, a corner or a hole taken out."""
    half = (1.0, float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.35, 0.8)))
    kind, r = int(rng.integers(3)), 0.03

    def distance(x: np.ndarray) -> np.ndarray:
        block = rounded_box(x, half, r)
        if kind == 0:
            cut = rounded_box(x - [0, -half[1], 0], (0.5, 1.2 * half[1], 2.0), r)
        elif kind == 1:
            cut = rounded_box(x - [half[0], -half[1], 0], (1.1, 1.1 * half[1], 2.0), r)
        else:
            cut = np.hypot(x[..., 0], x[..., 1] + 0.1) - 0.6 * half[1]
        return np.maximum(block, -cut)

    return distance, half


def _sheet(rng: np.random.Generator):
    """Stands upright, as thin as card board or a book, flat or curved."""
    wide, thin, curl = rng.uniform(0.55, 0.95), rng.uniform(0.025, 0.07), rng.uniform(0, 0.25)

    def distance(x: np.ndarray) -> np.ndarray:
        bent = np.stack([x[..., 0], x[..., 1], x[..., 2] - curl * (x[..., 0] ** 2 - 0.3)], -1)
        return 0.85 * rounded_box(bent, (wide, 1.0, thin), 0.4 * thin)

    return distance, (wide, 1.0, thin + curl)


def _joined(rng: np.random.Generator):
    """Three to five simple bodies grown together: toys, tools, figures."""
    parts: list[Distance] = []
    for k in range(int(rng.integers(3, 6))):
        at = rng.uniform(-0.5, 0.5, 3) * (k > 0)
        size = rng.uniform(0.18, 0.48, 3)
        kind = int(rng.integers(3))
        if kind == 0:
            parts.append(lambda x, at=at, size=size: rounded_box(x - at, tuple(size), 0.3 * float(size.min())))
        elif kind == 1:
            parts.append(lambda x, at=at, size=size: ellipsoid(x - at, tuple(size)))
        else:
            parts.append(lambda x, at=at, size=size: cylinder(x - at, float(size[0]), float(size[1]), 0.05))
        # a neck to the first one, so that all hang together
        parts.append(lambda x, at=at: _capsule(x, np.zeros(3), at, 0.13))

    def distance(x: np.ndarray) -> np.ndarray:
        out = parts[0](x)
        for part in parts[1:]:
            out = smooth_min(out, part(x), 0.05)
        return out

    return distance, (1.0, 1.0, 1.0)


def _bust(rng: np.random.Generator):
    """Head, neck and shoulders, modelled roughly."""
    seeds = rng.uniform(0, 2 * np.pi, (6, 3))
    waves = rng.uniform(3, 11, (6, 3)) * rng.choice([-1, 1], (6, 3))
    head = rng.uniform(0.32, 0.42)

    def distance(x: np.ndarray) -> np.ndarray:
        out = smooth_min(
            ellipsoid(x - [0, -0.45, 0], (head, 0.5, head * 1.1)), cylinder(x - [0, 0.2, 0.05], 0.2, 0.4, 0.05), 0.12
        )
        out = smooth_min(out, ellipsoid(x - [0, 0.75, 0.05], (0.75, 0.32, 0.38)), 0.15)
        bumps = sum(np.sin(x @ w + s.sum()) for w, s in zip(waves, seeds, strict=True))
        return np.maximum(0.8 * (out + 0.012 * bumps), x[..., 1] - 0.92)

    return distance, (0.85, 1.0, 0.6)


def _handled(rng: np.random.Generator):
    """A pan, a paddle, a jug: a body with a long handle."""
    r, flat, long = rng.uniform(0.35, 0.5), rng.uniform(0.12, 0.4), rng.uniform(0.5, 0.8)

    def distance(x: np.ndarray) -> np.ndarray:
        body = cylinder(x - [-0.45, 0, 0], r, flat, 0.04)
        body = np.maximum(body, -cylinder(x - [-0.45, -0.1, 0], r - 0.07, flat, 0.05))
        return smooth_min(
            body, _capsule(x, np.array([r - 0.45, 0, 0]), np.array([r - 0.45 + long, -0.1, 0]), 0.06), 0.04
        )

    return distance, (1.0, flat + 0.15, r + 0.05)


def _capsule(x: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    along = b - a
    t = np.clip((x - a) @ along / max(float(along @ along), 1e-9), 0, 1)
    return np.linalg.norm(x - a - t[..., None] * along, axis=-1) - radius


FAMILIES: dict[str, Callable[[np.random.Generator], tuple[Distance, tuple[float, float, float]]]] = {
    "lathe": _lathe,
    "box": _box,
    "superquadric": _superquadric,
    "rod": _rod,
    "mug": _mug,
    "bowl": _bowl,
    "concave": _concave,
    "sheet": _sheet,
    "joined": _joined,
    "bust": _bust,
    "handled": _handled,
}
"""name -> maker of (signed distance function, half sizes of the box that holds it)"""
