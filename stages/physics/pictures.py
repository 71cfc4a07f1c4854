"""The colliders over the mesh, from four sides, and the drops."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np

from stages.core.drop import Drop
from stages.core.images import thumbnail_jpeg
from stages.core.render import Caster, shade_view, turntable_rig
from stages.physics.asset import SimAsset
from stages.physics.drop_test import SHOWN, SQUARE_OF_SIZE, write_animation
from stages.physics.make import Made
from stages.physics.shapes import Shape
from stages.physics.support import Z_UP_FROM_OBJECT

SIDE_PX = 320


def write_pictures(out: Path, made: Made, drops: list[Drop]) -> list[tuple[str, str]]:
    """(caption, path) of what was written below `out`; an animation where there are drops."""
    pieces = [shape for _, shape in made.asset.active]
    strip = np.hstack(over_each_other(Shape(made.asset.visual.vertices, made.asset.visual.faces), pieces))
    thumbnail_jpeg(out / "pictures/colliders.jpg", strip, 1280)
    found = [
        (
            f"{len(pieces)} colliders, one colour each, over the mesh (grey), in the upright frame",
            "pictures/colliders.jpg",
        )
    ]
    if not drops:
        return found
    write_animation(out / "pictures/drop.webp", made.asset, drops)
    return [
        *found,
        (
            f"dropped from 5 cm in MuJoCo: {', '.join(SHOWN)}; squares of {_square_mm(made.asset):.0f} mm",
            "pictures/drop.webp",
        ),
    ]


def _square_mm(asset: SimAsset) -> float:
    return 1000 * SQUARE_OF_SIZE * float(np.ptp(asset.visual.vertices, axis=0).max())


def over_each_other(mesh: Shape, pieces: list[Shape]) -> list[np.ndarray]:
    """(SIDE_PX, SIDE_PX, 3) uint8 from four sides: the colliders half transparent over the mesh."""
    turned = [
        Shape(s.vertices @ Z_UP_FROM_OBJECT, s.faces) for s in (mesh, *pieces)
    ]  # pictures are taken in OpenCV axes
    start = np.cumsum([0, *(len(s.vertices) for s in turned[1:])])
    vertices = np.concatenate([s.vertices for s in turned[1:]])
    faces = np.concatenate([s.faces + k for s, k in zip(turned[1:], start, strict=False)])
    colours = np.concatenate([np.tile(_colour(k), (len(s.vertices), 1)) for k, s in enumerate(turned[1:])])
    rig, poses = turntable_rig(np.concatenate([turned[0].vertices, vertices]), SIDE_PX)
    below, above = Caster(turned[0].vertices, turned[0].faces), Caster(vertices, faces)
    return [_half(shade_view(below, pose, rig), shade_view(above, pose, rig, colours)) for pose in poses]


def _half(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a.astype(np.uint16) + 2 * b.astype(np.uint16)) // 3).astype(np.uint8)


def _colour(k: int) -> np.ndarray:
    """Hues a golden angle apart."""
    return np.round(255 * np.array(colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.55, 0.95)))
