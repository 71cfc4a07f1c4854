"""The artifact `material`: maps in the texture coordinates of `textured`, and the light they were solved with.

base_colour.png           sRGB, without light
metallic_roughness.png    as glTF packs it: green roughness, blue metalness (0), linear
roughness.png             the same roughness alone, grey, for OBJ
probe.hdr                 the light: Radiance, lat-long, twin frame (stages/core/radiance.py)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.core.images import read_rgb, write_rgb
from stages.core.meshes import TexturedMesh, read_textured
from stages.core.radiance import write_hdr
from stages.core.store import ArtifactRef

BASE, PACKED, ROUGHNESS, PROBE = "base_colour.png", "metallic_roughness.png", "roughness.png", "probe.hdr"


@dataclass(frozen=True)
class Maps:
    """Where the files of a solved material lie."""

    base: Path
    packed: Path
    roughness: Path
    probe: Path


def write_maps(folder: Path, base: np.ndarray, roughness: np.ndarray, light: np.ndarray) -> None:
    """base (S, S, 3) uint8 sRGB, roughness (S, S) uint8, light (H, 2H, 3) radiance."""
    folder.mkdir(parents=True)
    write_rgb(folder / BASE, base)
    write_rgb(folder / PACKED, np.stack([np.full_like(roughness, 255), roughness, np.zeros_like(roughness)], -1))
    write_rgb(folder / ROUGHNESS, roughness)
    write_hdr(folder / PROBE, light)


def read_maps(folder: Path) -> Maps:
    """Of the artifact `material`."""
    return Maps(folder / BASE, folder / PACKED, folder / ROUGHNESS, folder / PROBE)


def shown_mesh(inputs: Mapping[str, ArtifactRef]) -> tuple[TexturedMesh, Maps | None]:
    """The textured mesh of a stage's inputs, in base colours where `material` is among them, and its maps."""
    mesh = read_textured(inputs["textured"].path)
    if "material" not in inputs:
        return mesh, None
    maps = read_maps(inputs["material"].path)
    return replace(mesh, texture=read_rgb(maps.base)), maps
