"""Settings of the masks stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.config import setting


@dataclass(frozen=True)
class MasksConfig:
    """How the object is separated from its background and followed."""

    method: Literal["auto", "stereo", "sam2"] = "auto"
    """stereo = colour, depth and motion, no weights, which auto takes; sam2 = SAM 2 video (docs/weights.md), only when asked for"""
    kind: Literal["auto", "still_camera", "moving_camera", "flow"] = setting("auto", only_for=("stereo",))
    """what moves: still_camera = the object before a still background; moving_camera = the camera round a still scene; flow = unknown"""
    max_pixels: int = setting(1_000_000, only_for=("stereo", "sam2"))
    """pixels of the working size; larger pictures are worked on at this size and only the outline is refined at full size"""
    outline_length: float = setting(3.0, only_for=("stereo", "sam2"))
    """cost of a pixel of outline in units of log likelihood: higher is smoother, lower keeps thinner parts"""
    band_px: int = setting(8, only_for=("stereo", "sam2"))
    """half width in working px of the band in which the outline is placed by local colours"""
    local_radius_px: int = setting(14, only_for=("stereo", "sam2"))
    """radius in working px over which the local colours of object and background are gathered"""
    network: bool = setting(True, only_for=("stereo",))
    """whether a small network of our own (weights/mask_net.md) looks at the evidence as a whole; else it counts pixel by pixel"""
    sam2_weights: str = setting("sam2.1-small", only_for=("sam2",))
    """name in `twin weights list`: sam2.1-tiny, -small, -base-plus or -large, each about twice as slow as the one before; or edgetam"""
    sam2_size_px: int = setting(0, only_for=("sam2",))
    """px; side of the square the network sees, a multiple of 64; 0 = the 1024 it was trained at. 512 takes a quarter of the time and of the
    memory, and loses what is thinner than some 4 px of that square"""
    sam2_by_depth: bool = setting(True, only_for=("sam2",))
    """whether the outline is placed again by depth, colours and edges: the network gives it at a quarter of its square"""
    memory: Literal["fixed", "auto"] = setting("fixed", only_for=("sam2",))
    """fixed: refuse to start where memory will not suffice, naming the estimate; auto: lower sam2_size_px until it does, and say so"""
    uncertain_below: float = 0.5
    """trust (0-1) below which a mask is marked uncertain"""

    def __post_init__(self) -> None:
        if self.max_pixels < 20_000:
            raise ValueError("max_pixels must be at least 20000")
        if self.outline_length <= 0 or self.band_px < 3 or self.local_radius_px < 3:
            raise ValueError("outline_length must be positive, band_px and local_radius_px at least 3")
        if self.sam2_size_px and (self.sam2_size_px % 64 or not 256 <= self.sam2_size_px <= 2048):
            raise ValueError("sam2_size_px must be 0 or a multiple of 64 between 256 and 2048")
        if not 0 <= self.uncertain_below <= 1:
            raise ValueError("uncertain_below must lie between 0 and 1")
