"""Settings of `merge`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MergeConfig:
    """How the object of one session is found in the other, and what makes that count."""

    key_frames: int = 24
    """frames of each session, spread over its views, that are compared with those of the other"""
    max_points: int = 600
    """points of the object that each of these frames brings"""
    max_width_px: int = 1000
    """px; the part of a picture that shows the object is reduced to this before points are looked for"""
    contrast: float = 0.015
    """SIFT's contrast threshold; lower finds weaker spots"""
    ratio: float = 0.85
    """best over second best distance of descriptors that a match may have"""
    min_spots: int = 15
    """places of the object, apart from each other, that must look alike in both sessions and move as one (chance gives 4 to 7)"""
    max_rival: float = 0.6
    """share of these that the second best place of the object may have: more, and it looks alike from two sides"""
    max_floating: float = 0.06
    """share of one session's surface that may float before the other's, or fall outside its masks"""
    min_meeting: float = 0.5
    """share of the surface that must meet the other's, of frames that look from the same side"""

    min_look: float = 0.55
    """how well the details of both pictures must go together there (correlation)"""

    def __post_init__(self) -> None:
        if self.key_frames < 2 or self.max_points < 20 or self.max_width_px < 64 or self.min_spots < 6:
            raise ValueError("key_frames must be at least 2, max_points 20, max_width_px 64, min_spots 6")
        if not (
            0 < self.ratio < 1
            and 0 < self.max_rival <= 1
            and 0 < self.max_floating < 1
            and 0 < self.min_meeting < 1
            and 0 < self.min_look < 1
        ):
            raise ValueError("ratio, max_rival, max_floating, min_meeting and min_look are shares between 0 and 1")
        if not 0 < self.contrast < 1:
            raise ValueError("contrast must be between 0 and 1")
