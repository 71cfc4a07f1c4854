"""Settings of the material stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MaterialConfig:
    """Whether base colour, roughness and light are told apart, and how."""

    method: Literal["off", "solved"] = "off"
    """solved: base colour, roughness and an environment light are solved from what the pictures show, and the twin's files carry them
    instead of the pictures' colours, of which light is a part. Wants an object that stands still in its light. off: the stage is left
    out of the run"""
    light_height: int = 16
    """rows of the environment light, which has twice as many columns; 16: pixels of 11 degrees"""
    points: int = 3000
    """of the surface, spread evenly, on which light and gloss are solved; the base colour is solved for every texel"""
    rounds: int = 10
    """light and materials are solved in turn this often"""
    brightest: float = 0.9
    """base colour that a tenth of the object exceeds: pictures alone cannot tell a bright object in weak light from a dark one in strong
    light"""
    max_views: int = 48
    """pictures used at most, spread evenly over the directions"""
    align_views: bool = True
    """correct each frame's pose by up to a few pixels so that the pictures agree on the surface, as the texture stage does"""
    exposure: bool = True
    """solve for the gain of every picture and colour channel; off = take the pictures as they are, right for a camera that was locked"""

    def __post_init__(self) -> None:
        if not 8 <= self.light_height <= 32:
            raise ValueError(f"light_height is {self.light_height}, expected 8 to 32")
        if not 200 <= self.points <= 20000:
            raise ValueError(f"points is {self.points}, expected 200 to 20000")
        if not 1 <= self.rounds <= 50 or self.max_views < 3:
            raise ValueError("rounds must lie between 1 and 50, max_views must be at least 3")
        if not 0.05 <= self.brightest <= 1:
            raise ValueError(f"brightest is {self.brightest}, expected 0.05 to 1")
