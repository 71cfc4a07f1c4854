"""All that the files for simulators say, once, in the upright frame: each writer takes its numbers from here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.core.levels import NAMES, Level
from stages.core.meshes import TexturedMesh
from stages.physics.mass import MassProperties
from stages.physics.materials import Material
from stages.physics.shapes import Shape

MESHES = "meshes"
TEXTURE = "twin.png"


@dataclass(frozen=True)
class SimAsset:
    """visual, parts, hull and closed (a light closed mesh, for SDF colliders) in metres, z up, origin on the ground."""

    label: str
    visual: TexturedMesh
    parts: list[Shape]
    hull: Shape
    closed: Shape
    use_hull: bool
    mass: MassProperties
    material: Material
    roughness: float = 0.9
    facts: dict[str, Any] = field(default_factory=dict)
    """for metadata: label, Q-code, provenance"""
    levels: list[Level] = field(default_factory=list)
    """of the visual mesh, coarser and coarser"""

    @property
    def name(self) -> str:
        """The label as an identifier."""
        text = re.sub(r"[^A-Za-z0-9]+", "_", self.label).strip("_").lower()
        return text if text and text[0].isalpha() else f"object_{text}".rstrip("_")

    @property
    def coarser(self) -> dict[str, Level]:
        """By the name that files and variants have."""
        return dict(zip(NAMES, self.levels, strict=False))

    @property
    def active(self) -> list[tuple[str, Shape]]:
        """(file stem, shape) of what touches."""
        return [("hull", self.hull)] if self.use_hull else [(f"part_{k:03d}", p) for k, p in enumerate(self.parts)]


def numbers(values: Any) -> str:
    """Numbers with a blank between them; the shortest text that reads back as the same number."""
    return " ".join(repr(float(v)) for v in np.ravel(values))


def inertia_entries(inertia: np.ndarray) -> dict[str, str]:
    """ixx, ixy, .. as URDF and SDF name them."""
    at = {"x": 0, "y": 1, "z": 2}
    return {f"i{a}{b}": numbers(inertia[at[a], at[b]]) for a, b in ("xx", "xy", "xz", "yy", "yz", "zz")}
