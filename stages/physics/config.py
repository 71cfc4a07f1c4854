"""Settings of the physics stage."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from stages.physics.materials import MATERIALS, UNKNOWN


@dataclass(frozen=True)
class PhysicsConfig:
    """What a simulator has to know and no picture shows, and how the colliders are made."""

    files: bool = True
    """write sim/: colliders, mass properties and the descriptions for simulators; off = only the twin that one looks at"""
    mass_kg: float | None = None
    """weighed mass; without it the mass is volume times density"""
    density_kg_m3: float | None = None
    """density instead of the material's"""
    material: str = UNKNOWN
    """from the table in docs/methods/physics.md: gives density, friction and restitution; unknown = those of a usual household object"""
    wall_mm: float | None = None
    """the object is closed but hollow, with walls this thick; none = solid, apart from the hollows that the mesh has"""
    label: str = "object"
    """what it is, for the semantics of USD and the names in the files"""
    qcode: str = ""
    """Wikidata item of what it is, such as Q80228 for a bottle; left out when empty"""
    author: str = ""
    """who answers for the twin, for the provenance in USD; left out when empty"""
    licence: str = ""
    """of the twin, such as CC-BY-4.0, for the provenance in USD; left out when empty"""
    colliders: Literal["parts", "hull"] = "parts"
    """what touches: convex parts that follow the shape (CoACD), or the convex hull alone, which closes every hollow"""
    max_hulls: int = 32
    """convex parts at most"""
    collider_error_mm: float | None = None
    """the parts' surface stays this close to the mesh; none = the larger of 1 mm and 1 % of the size"""
    frame: Literal["upright", "twin"] = "upright"
    """upright = as the object stood, or stands most likely, z up, origin under its centre of mass; twin = the twin's frame, z up"""
    cpu_limit_s: float = 30.0
    """CPU seconds for the search of convex pieces, half as long on two cores; coarser ones are searched where it would not end. Not
    seconds of the clock: what is found must not depend on what else the machine does"""

    def __post_init__(self) -> None:
        if self.material not in MATERIALS:
            near = difflib.get_close_matches(self.material, MATERIALS, 1, 0.4)
            raise ValueError(
                f"material {self.material[:60]!r} is not known; {f'did you mean {near[0]}? ' if near else ''}"
                f"There are {', '.join(sorted(MATERIALS))}"
            )
        if self.mass_kg is not None and self.density_kg_m3 is not None:
            raise ValueError("mass_kg and density_kg_m3 are both given: the mass decides, leave the density out")
        for name, value in (
            ("mass_kg", self.mass_kg),
            ("density_kg_m3", self.density_kg_m3),
            ("wall_mm", self.wall_mm),
            ("collider_error_mm", self.collider_error_mm),
            ("cpu_limit_s", self.cpu_limit_s),
        ):
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}, expected more than 0")
        if not 1 <= self.max_hulls <= 256:
            raise ValueError(f"max_hulls is {self.max_hulls}, expected 1 to 256")
        if not self.label.strip() or len(self.label) > 100 or not self.label.isprintable():
            raise ValueError("label needs 1 to 100 printable characters")
        for name, text in (("author", self.author), ("licence", self.licence)):
            if len(text) > 200 or not text.isprintable():
                raise ValueError(f"{name} takes at most 200 printable characters")
        if self.qcode and not re.fullmatch(r"Q[1-9][0-9]{0,11}", self.qcode):
            raise ValueError(f"qcode is {self.qcode[:40]!r}, expected an item of Wikidata such as Q80228")
