"""A stereo video without a camera: a textured thing moves before a textured wall, with true disparity and masks."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.masks.cut.outline import CutSettings
from stages.masks.follow.job import Job
from stages.masks.frame.prompt import Prompt
from stages.masks.frame.working_frame import WorkingFrame

WIDTH, HEIGHT = 320, 240
WALL_PX, THING_PX = 20.0, 60.0
RIG = Rig(WIDTH, HEIGHT, 300.0, 300.0, 159.5, 119.5, 0.06)


def texture(
    seed: int,
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> np.ndarray:
    """(H, W, 3) float32 smooth random pattern between two colours."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, size).astype(np.float32), (0, 0), 2.0)
    t = np.clip(noise / (4 * noise.std()) + 0.5, 0, 1)[..., None]
    return np.asarray(low, np.float32) * (1 - t) + np.asarray(high, np.float32) * t


@dataclass
class FlatScene:
    """An ellipse of its own texture at `centres[k]` px (None = not there) before a wall; frames are rendered on demand."""

    centres: list[tuple[float, float] | None]
    depth: bool = True
    gains: list[float] | None = None
    shift_wall: float = 0.0
    wall: np.ndarray = field(default_factory=lambda: texture(1, (60, 70, 80), (120, 115, 110), (HEIGHT, 2 * WIDTH)))
    thing: np.ndarray = field(default_factory=lambda: texture(2, (150, 40, 30), (240, 190, 60)))
    shadow: float = 1.0
    """by how much a shadow beside the thing darkens the wall"""

    def mask(self, frame: int) -> np.ndarray:
        """(H, W) bool truth."""
        if self.centres[frame] is None:
            return np.zeros((HEIGHT, WIDTH), bool)
        x, y = np.meshgrid(np.arange(WIDTH) - self.centres[frame][0], np.arange(HEIGHT) - self.centres[frame][1])
        return (x / 34) ** 2 + (y / 46) ** 2 < 1

    def load(self, frame: int) -> WorkingFrame:
        """The frame with sensor noise, disparity noise of 0.2 px and a tenth of the disparities missing."""
        rng = np.random.default_rng(1000 + frame)
        mask, at = self.mask(frame), self.centres[frame] or (0, 0)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.6)[..., None]
        moved = np.roll(self.thing, (round(at[1]) - HEIGHT // 2, round(at[0]) - WIDTH // 2), (0, 1))
        offset = round(self.shift_wall * frame)
        cast = np.roll(mask, (14, 30), (0, 1)) & ~mask
        wall = self.wall[:, offset : offset + WIDTH] * np.where(cast, self.shadow, 1)[..., None]
        colour = soft * moved + (1 - soft) * wall
        colour = colour * (1.0 if self.gains is None else self.gains[frame]) + rng.normal(0, 2, colour.shape)
        disparity = np.where(mask, THING_PX, WALL_PX).astype(np.float32) + rng.normal(0, 0.2, mask.shape).astype(
            np.float32
        )
        disparity[rng.uniform(size=mask.shape) < (0.1 if self.depth else 2)] = np.nan
        disparity[cast & (self.shadow < 1)] = np.nan
        sigma = np.where(np.isfinite(disparity), np.float32(0.25), np.float32(np.nan))
        return WorkingFrame(frame, np.clip(colour, 0, 255).astype(np.uint8), disparity, sigma)

    def box(self, frame: int) -> tuple[float, float, float, float]:
        """Round the truth, px."""
        ys, xs = np.nonzero(self.mask(frame))
        return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())

    def job(self, frame: int = 0, kind: str = "auto", box: tuple[float, float, float, float] | None = None) -> Job:
        """The scene as a job with a box on `frame`."""
        prompt = Prompt(frame, box or self.box(frame))
        return Job(
            list(range(len(self.centres))),
            self.load,
            RIG,
            prompt,
            CutSettings(),
            kind,
            0.5,
            1,
            np.random.default_rng(0),
            lambda *a: None,
        )


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union in percent; two empty masks agree."""
    return 100.0 * (a & b).sum() / (a | b).sum() if (a | b).any() else 100.0
