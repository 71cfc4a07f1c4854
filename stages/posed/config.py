"""Settings of the posed stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PosedConfig:
    """How a folder of pictures with known cameras is read."""

    format: Literal["auto", "transforms", "llff", "neus", "middlebury", "colmap", "views"] = "auto"
    """what is read where a folder holds several; transforms: Blender, instant-ngp and nerfstudio; views: pictures front, back, ..."""
    axes: Literal["opengl", "opencv"] = "opengl"
    """of the matrices in transforms*.json: opengl looks along -z with y up, opencv along +z with y down"""
    metres_per_unit: float = 0.0
    """length of one unit of the file in metres; 0 = unknown: then every length of the twin is in units of the file, and says so"""
    masks: Literal["auto", "given", "alpha", "depth", "plain", "none"] = "auto"
    """where the object's masks come from; auto takes the first of alpha channel, mask files, depth pictures (0 = background) and a plain
    background that a picture has; none: all of every picture is wanted (route scene, which means it)"""
    views_distance: float = 2.5
    """distance of canonical views (front, back, ..) from the object's middle, units"""
    field_of_view_deg: float = 0.0
    """horizontal, of all pictures, in place of the file's; for canonical views 0 means 1111 px at a width of 512 px"""
    max_width: int = 0
    """pictures are made at most so wide, px; 0 = as they are"""
    check_silhouettes: bool = True
    """test the silhouettes against each other, and name a picture that is turned or mirrored"""
    apply_repair: bool = False
    """turn or mirror the picture that the test names; otherwise it is only told"""
    apply_field_of_view: bool = False
    """take the field of view that the silhouettes agree on best; otherwise it is only told"""

    def __post_init__(self) -> None:
        if self.metres_per_unit < 0 or self.views_distance <= 0:
            raise ValueError("metres_per_unit must be 0 or positive, views_distance positive")
        if self.field_of_view_deg and not 0.1 <= self.field_of_view_deg <= 175:
            raise ValueError("field_of_view_deg must be 0, or 0.1 to 175")
        if self.max_width and self.max_width < 64:
            raise ValueError("max_width must be 0 or at least 64")
