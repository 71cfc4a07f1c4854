"""Settings of `turntable`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TurntableConfig:
    """Which marks on the support count, and what makes their pattern tell how the support was turned."""

    contrast: float = 20.0
    """grey levels by which a mark is darker or brighter than what is round it"""
    mark_mm: tuple[float, float] = (2.0, 12.0)
    """[least, most] width of a mark on the support"""
    reach: float = 2.6
    """sizes of the object round its foot within which marks are looked for"""
    tolerance_mm: float = 2.0
    """by how much the places of one mark may differ between frames: paper is not flat, nor is depth exact"""
    min_marks: int = 8
    """marks that two frames must share, and that a frame must find again in the pattern of all"""
    max_rival: float = 0.6
    """share of these that the second best turn may have: more, and the pattern looks alike from two sides"""
    max_floating: float = 0.05
    """share of the object's surface that may float before what other frames saw or fall outside their masks; more: the marks do not turn
    with the object"""

    max_floating_frame: float = 0.2
    """the same of one frame's share"""
    min_look: float = 0.45
    """how well pictures turned by less than 50 degrees must go together (correlation of details), where there are such"""

    def __post_init__(self) -> None:
        if not 0 < self.mark_mm[0] < self.mark_mm[1] or self.tolerance_mm <= 0 or self.contrast <= 0:
            raise ValueError("mark_mm must be two rising positive numbers, tolerance_mm and contrast positive")
        if self.min_marks < 4 or not 0.5 <= self.reach <= 20:
            raise ValueError("min_marks must be at least 4, reach between 0.5 and 20")
        if not all(0 < v < 1 for v in (self.max_rival, self.max_floating, self.max_floating_frame, self.min_look)):
            raise ValueError("max_rival, max_floating, max_floating_frame and min_look are shares between 0 and 1")
