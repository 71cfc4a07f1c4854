"""Where a detector sees a thing in a picture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """(x0, y0, x1, y1) px, and how sure the detector is (0-1)."""

    score: float
    xyxy: tuple[float, float, float, float]
