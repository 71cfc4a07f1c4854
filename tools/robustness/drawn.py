"""What a drawn capture is made of: plain values, written into its truth, from which everything else follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.camera import Rig

MOTIONS = ("orbit", "inhand", "turntable", "both", "two_stage")
HANDS = ("none", "holds", "stays", "touches", "turns")


@dataclass(frozen=True)
class Drawn:
    """One capture. Lengths in metres, angles in degrees, times as shares of the whole capture."""

    seed: int
    frames: int
    width: int
    height: int
    family: str
    """name in families.FAMILIES, or a mesh file"""
    extent_m: float
    """largest extent of the object"""
    coat: str
    """name in coats.COATS"""
    gloss: float
    table: str
    wall: str
    """names in coats.GROUNDS"""
    posters: int
    clutter: int
    """other objects that stand round it"""
    movers: int
    """things that pass through the picture"""
    motion: str
    hand: str
    turn_deg: float
    """how far object or camera go round in all"""
    elevation_deg: tuple[float, float]
    swings: float
    shake: float
    """how unsteady the camera is held: 1 = as a hand does"""
    fill: float
    """extent of the object in the picture, as a share of its height"""
    focal: float
    """focal length in picture widths"""
    baseline_share: float
    """baseline as a share of the distance"""
    wall_m: float
    """how far the wall is behind the object"""
    lamp_deg: tuple[float, float]
    """where the light comes from: round, and above the horizon"""
    ambient: float
    level: float
    """brightness of the whole"""
    exposure_drift: float
    white_drift: float
    right_gain: float
    noise: float
    """standard deviation of the sensor noise, grey levels"""
    blur: float
    """exposure time as a share of the time between frames"""
    rolling: float
    """time to read all rows as a share of the time between frames"""
    codec: str
    """"jpeg" or "mpeg4": the pictures went through a video"""
    jpeg_quality: int

    @property
    def distance_m(self) -> float:
        """Of the camera from the object's centre."""
        return self.focal * self.width * self.extent_m / (self.fill * self.height)

    @property
    def rig(self) -> Rig:
        """The principal point lies a little off the centre."""
        f = self.focal * self.width
        return Rig(
            self.width,
            self.height,
            f,
            f,
            cx=self.width / 2 + 2.7,
            cy=self.height / 2 - 3.1,
            baseline_m=self.baseline_share * self.distance_m,
        )

    def rng(self, what: str) -> np.random.Generator:
        """A generator for one thing of the capture, so that things do not depend on each other."""
        return np.random.default_rng([self.seed, *what.encode()])

    @property
    def properties(self) -> dict[str, str]:
        """What failures are grouped by: {property: its kind in a word or two}."""
        blurred, rolling, video = self.blur > 0.01, self.rolling > 0.01, self.codec != "jpeg"
        ways = (("blurred", blurred), ("rolling rows", rolling), ("video", video), ("noisy", self.noise > 3))
        return {
            "shape": self.family.rsplit("/", 1)[-1],
            "paint": self.coat,
            "gloss": "glossy" if self.gloss > 0.15 else "matt",
            "background": f"{self.table}, {self.wall}"
            if self.motion in ("orbit", "both", "two_stage")
            else f"{self.wall} wall",
            "beside it": " and ".join(w for w, n in (("clutter", self.clutter), ("things that move", self.movers)) if n)
            or "nothing",
            "motion": self.motion,
            "hand": self.hand,
            "in the picture": "small" if self.fill < 0.3 else "large" if self.fill > 0.6 else "middle",
            "camera": ", ".join(name for name, on in ways if on) or "clean",
        }
