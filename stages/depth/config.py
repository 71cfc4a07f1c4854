"""Settings of `depth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.config import setting


@dataclass(frozen=True)
class DepthConfig:
    """How disparities are measured. Lengths in px of the pictures as they come from `rectify`."""

    method: Literal["auto", "sgm"] = "auto"
    """`sgm`: semi-global matching refined by a thin plate, no weights needed. `auto` takes the best method this machine can run."""
    work_megapixels: float = setting(2.0, only_for=("sgm",))
    """megapixels; larger pictures are refined at this size and the result enlarged: errors in px of the full picture grow with the
    reduction, time falls with its square. 2 keeps a 1600x1200 pair whole and a 12-megapixel pair below 2 s"""
    matching_megapixels: float = setting(0.5, only_for=("sgm",))
    """megapixels; the search over all disparities runs at the first halving at or below this size, where blank areas are smaller and
    the noise is lower; sub-pixel precision comes from the refinement"""
    steps: int = setting(2, only_for=("sgm",))
    """Gauss-Newton steps at the finest size; each costs about 0.3 s per megapixel, the third changes little"""
    max_sigma_px: float = setting(8.0, only_for=("sgm",))
    """px; a disparity less certain than this is left out: its depth would be worth less than the object's own size"""
    given_sigma_px: float = 0.25
    """px; standard deviation stated for depth that came with the capture, which says nothing about its own errors"""
