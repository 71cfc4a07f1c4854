"""Maps and light as pictures of the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from stages.core.images import thumbnail_jpeg
from stages.core.meshes import TexturedMesh
from stages.core.render import Caster, turntable_rig
from stages.core.render_textured import mip_levels, render_textured
from stages.core.texels.exposure import srgb_from_linear
from stages.material.maps import Material


def write_pictures(out: Path, mesh: TexturedMesh, made: Material) -> list[tuple[str, str]]:
    """Write pictures/*.jpg below `out`; returns (caption, relative path)."""
    rough = np.repeat(made.roughness[..., None], 3, -1)
    thumbnail_jpeg(out / "pictures/base_colour.jpg", made.base, 900)
    thumbnail_jpeg(out / "pictures/roughness.jpg", rough, 480)
    thumbnail_jpeg(out / "pictures/light.jpg", shown_light(made.light), 640)
    rows = [_sides(replace(mesh, texture=texture)) for texture in (mesh.texture, made.base, rough)]
    thumbnail_jpeg(out / "pictures/sides.jpg", np.vstack(rows), 1280)
    return [
        ("from four sides: colours of the pictures, base colour, roughness (white = rough)", "pictures/sides.jpg"),
        ("base colour", "pictures/base_colour.jpg"),
        ("roughness", "pictures/roughness.jpg"),
        (
            "the light, as far as the object shows it: up is above, the middle is where the front looks",
            "pictures/light.jpg",
        ),
    ]


def shown_light(light: np.ndarray) -> np.ndarray:
    """(256, 512, 3) uint8: the 95th percentile is white."""
    levels = srgb_from_linear(light / max(float(np.percentile(light, 95)), 1e-9))
    return cv2.resize(levels.astype(np.uint8), (512, 256), interpolation=cv2.INTER_NEAREST)


def _sides(mesh: TexturedMesh, size: int = 320) -> np.ndarray:
    rig, poses = turntable_rig(mesh.vertices, size)
    caster, mips = Caster(mesh.vertices, mesh.faces), mip_levels(mesh.texture)
    return np.hstack(
        [np.clip(np.rint(render_textured(mesh, p, rig, caster, mips=mips)[0]), 0, 255).astype(np.uint8) for p in poses]
    )
