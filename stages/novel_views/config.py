"""Settings of the novel_views stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.core.config import setting


@dataclass(frozen=True)
class NovelViewsConfig:
    """Pictures of the object from cameras that took none."""

    method: Literal["image_based", "radiance"] = "image_based"
    """image_based: through the mesh, each pixel blended from the nearest pictures; radiance: a radiance field learned from the pictures
    that are not scored, for which the mesh, where there is one, is only the box to look in"""
    radiance_steps: int = setting(2000, only_for=("radiance",))
    """of learning the radiance field; more are better and take longer in proportion"""
    radiance_samples: int = setting(32768, only_for=("radiance",))
    """places in a step at which the radiance field is asked; half of them take half the time and memory, and are noisier"""
    path: Literal["none", "turntable", "spiral"] = "none"
    """cameras of the video: turntable goes round the object, spiral rises and falls as it goes; both at the captured distance and
    height. Before a scene that was seen from one side (route scene) both stay among its cameras"""
    frames: int = 60
    """of the video"""
    width: int = 640
    """px of the video"""
    fps: int = 24
    """frames a second of the video"""
    score_every: int = 8
    """every n-th picture is rendered from the others, and compared with itself and with a copy of the nearest one; 0 = no score"""
    blended: int = setting(4, only_for=("image_based",))
    """input pictures that a new one is blended from, nearest first; 1 copies each pixel from the nearest picture that sees it"""

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= 2000 or not 64 <= self.width <= 4096 or not 1 <= self.fps <= 120:
            raise ValueError("frames must be 2 to 2000, width 64 to 4096, fps 1 to 120")
        if self.score_every < 0 or not 1 <= self.blended <= 16:
            raise ValueError("score_every must not be negative, blended 1 to 16")
        if not 50 <= self.radiance_steps <= 200_000 or not 1024 <= self.radiance_samples <= 1 << 20:
            raise ValueError("radiance_steps must be 50 to 200000, radiance_samples 1024 to 1048576")
