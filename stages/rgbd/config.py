"""Settings of `rgbd`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RgbdConfig:
    """How the colour and depth of a depth camera are read, and how far its depth is trusted."""

    intrinsics: tuple[float, float, float, float] | None = None
    """[fx, fy, cx, cy] of the colour pictures, px, where no file gives them; depth is then taken to be registered to colour"""
    depth_scale: float = 0.0
    """units of a depth value per metre; 0: what depth/depth.json or camera.json says, 5000 in TUM's layout, else 1000 (millimetres) for
    whole numbers and 1 (metres) for fractions"""
    noise_floor_mm: float = 0.7
    """standard deviation of depth close by: what of the sensor's noise does not depend on the distance"""
    noise_at_1m_mm: float = 2.0
    """standard deviation at 1 m, growing with the square of the distance, as triangulation by structured light or infrared stereo has it
    (Khoshelham and Elberink 2012 measured 1.4 to 2.9 mm); time of flight grows less: 0.5, with a floor of 3"""
    lateral_px: float = 0.5
    """by how much depth lies beside its colour: on a slope it adds to the noise"""
    edge_share: float = 0.02
    """a step of depth between neighbours by more than this share of it is an edge, whose pixels mix both sides: they are left out"""
    min_depth_m: float = 0.05
    """nearer values are no depth"""
    max_depth_m: float = 10.0
    """farther values are no depth"""
    max_apart_s: float = 0.02
    """colour and depth are of one moment if their times differ by no more than this"""

    box: tuple[float, float, float, float] | None = None
    """[x0, y0, x1, y1] round the object in the colour picture as captured, px; takes the place of prompt.json"""
    box_frame: int = 0
    """frame the box was drawn on"""
    text: str = ""
    """words for the object ("red ball") in place of a box: a detector finds it on `box_frame`; needs weights (docs/weights.md)"""
    max_frames: int = 150
    """frames to keep at most, evenly thinned: cameras record 30 a second"""
    max_width: int = 0
    """px; wider pictures are made smaller; 0 keeps every sample"""
    min_usable: float = 0.5
    """share of the capture's frames that must be usable"""

    def __post_init__(self) -> None:
        for name in ("depth_scale", "noise_floor_mm", "noise_at_1m_mm", "lateral_px"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.noise_floor_mm + self.noise_at_1m_mm <= 0:
            raise ValueError("noise_floor_mm and noise_at_1m_mm are both 0: no depth is without noise")
        if not 0 < self.min_depth_m < self.max_depth_m:
            raise ValueError("min_depth_m and max_depth_m must be positive, the first smaller")
        if self.max_frames < 1 or not 0 < self.edge_share < 1 or (self.max_width and self.max_width < 64):
            raise ValueError("max_frames must be at least 1, edge_share between 0 and 1, max_width 0 or at least 64")
