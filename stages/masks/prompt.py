"""The user's hint of where the object is, checked against the picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import CaptureError


@dataclass(frozen=True)
class Prompt:
    """frame; box (x0, y0, x1, y1) px or None; points (x, y, 1 = object or 0 = background) px. Neither box nor points: find it."""

    frame: int
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, int], ...] = ()

    def scaled(self, sx: float, sy: float) -> Prompt:
        """The prompt on a picture resized by these factors (pixel centres at integers)."""
        x, y = (lambda v: (v + 0.5) * sx - 0.5), (lambda v: (v + 0.5) * sy - 0.5)
        box = None if self.box is None else (x(self.box[0]), y(self.box[1]), x(self.box[2]), y(self.box[3]))
        return Prompt(self.frame, box, tuple((x(a), y(b), k) for a, b, k in self.points))


def read_prompt(path: Path, frames: list[int], width: int, height: int) -> Prompt:
    """prompt.json as `rectify` writes it. Raises CaptureError for a frame that cannot be used or a place outside the picture."""
    data = json.loads(path.read_text())
    frame = int(data.get("frame", frames[0]))
    if (data.get("box_xyxy") or data.get("points")) and frame not in frames:
        raise CaptureError(
            f"the prompt is on frame {frame}, which cannot be used", f"give the prompt on another frame, such as {frames[0]}"
        )
    if box := data.get("box_xyxy"):
        x0, y0, x1, y1 = map(float, box)
        inside = max(0.0, min(x1, width - 1) - max(x0, 0.0)) * max(0.0, min(y1, height - 1) - max(y0, 0.0))
        if x1 - x0 < 4 or y1 - y0 < 4 or inside < 0.25 * (x1 - x0) * (y1 - y0):
            raise CaptureError(
                f"the box {list(box)} does not lie in the {width} x {height} picture",
                "give x0, y0, x1, y1 in pixels of the left image, x0 < x1 and y0 < y1",
            )
        return Prompt(frame, (max(x0, 0.0), max(y0, 0.0), min(x1, width - 1.0), min(y1, height - 1.0)))
    points = tuple((float(p[0]), float(p[1]), int(p[2])) for p in data.get("points", ()))
    if points and not any(k == 1 and 0 <= x < width and 0 <= y < height for x, y, k in points):
        raise CaptureError(
            f"no point of the prompt marks the object inside the {width} x {height} picture",
            "give at least one [x, y, 1] inside the picture",
        )
    return Prompt(frame if points else frames[0], None, points)
