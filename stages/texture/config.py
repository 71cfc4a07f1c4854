"""Settings of the texture stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextureConfig:
    """How the mesh is unwrapped and coloured from the pictures."""

    size: int = 2048
    """texels along each side, at most; less is used where the pictures hold less detail than half a texel would show"""
    size_fixed: bool = False
    """use `size` even where the pictures hold less detail"""
    face_budget: int = 40000
    """faces of the textured mesh; 40,000 unwrap in about 3 s and keep a bottle within 0.05 mm"""
    simplify_tolerance_mm: float = 0.1
    """largest 99th percentile deviation that simplifying may cause; the budget is doubled until it holds"""
    padding_px: int = 6
    """texels between charts: two gutters of 2 and room for one mip level"""
    sides: Literal["both", "left"] = "both"
    """pictures to colour from; the right ones add views at a different angle, which is what shows highlights to be outliers"""
    max_views: int = 96
    """pictures used at most, spread evenly over the directions; bounds time and memory for long captures"""
    candidates: int = 8
    """views kept per texel; the best by resolution, angle and distance to the border of the mask"""
    min_facing: float = 0.2
    """smallest cosine between surface normal and viewing direction: beyond 78 degrees a pixel smears over five texels"""
    border_px: float = 2.0
    """picture pixels next to the mask's border or a depth edge that are never used: they mix object and background"""
    border_ramp_px: float = 12.0
    """pixels over which a view's weight grows from the border to its full value, so that no view starts with an edge"""
    sharp_power: float = 3.0
    """how strongly fine detail prefers the best view: 1 = as coarse colour, larger = sharper but noisier"""
    outlier_scale: float = 2.5
    """a candidate this many robust standard deviations from the median of a texel's candidates counts half"""
    noise_floor: float = 4.0
    """smallest robust standard deviation, grey levels of 255: sensor noise and compression of a good camera"""
    exposure: bool = True
    """solve for the gain of every picture and colour channel; off = take the pictures as they are"""
    align_views: bool = True
    """correct each frame's pose by up to a few pixels so that the pictures agree on the surface; poses.json stays as it is"""
    refine: Literal["none", "raycast", "nvdiffrast"] = "none"
    """after blending, fit texture, exposure and poses to all pictures together and keep it where it shows left-out pixels better;
    nvdiffrast renders on a CUDA GPU and may not be used commercially (`licence: commercial` refuses it)"""
    refine_steps: int = 120
    """steps of that fit, four pictures each"""
    hold_out: int = 0
    """leave every n-th frame out and measure the texture on it; 0 = use all (and measure on those used)"""

    def __post_init__(self) -> None:
        if not 128 <= self.size <= 16384:
            raise ValueError(f"size is {self.size}, expected 128 to 16384")
        if not 1 <= self.candidates <= 32:
            raise ValueError(f"candidates is {self.candidates}, expected 1 to 32")
        if self.face_budget < 100 or self.max_views < 2 or self.padding_px < 2:
            raise ValueError("face_budget must be at least 100, max_views 2, padding_px 2")
        if self.refine_steps < 1:
            raise ValueError(f"refine_steps is {self.refine_steps}, expected at least 1")
        if not 0 < self.min_facing < 1 or self.hold_out < 0 or self.hold_out == 1:
            raise ValueError("min_facing must lie between 0 and 1; hold_out is 0 or at least 2")
