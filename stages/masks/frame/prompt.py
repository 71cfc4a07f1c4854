"""The user's hint of where the object is, checked against the picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.images import read_mask

Box = tuple[float, float, float, float]
Points = tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class Prompt:
    """What is known of one frame: box (x0, y0, x1, y1) px, points (x, y, 1 = object or 0 = background) px, or the mask itself.

    Nothing of it: find the object. `corrections`: the same for other frames, where points beside the object may stand alone.
    """

    frame: int
    box: Box | None = None
    points: Points = ()
    mask: np.ndarray | None = None
    """(H, W) bool"""
    corrections: tuple[Prompt, ...] = ()

    def scaled(self, sx: float, sy: float) -> Prompt:
        """The prompt on a picture resized by these factors (pixel centres at integers)."""
        x, y = (lambda v: (v + 0.5) * sx - 0.5), (lambda v: (v + 0.5) * sy - 0.5)
        box = None if self.box is None else (x(self.box[0]), y(self.box[1]), x(self.box[2]), y(self.box[3]))
        points = tuple((x(a), y(b), k) for a, b, k in self.points)
        return Prompt(
            self.frame, box, points, _resized(self.mask, sx, sy), tuple(c.scaled(sx, sy) for c in self.corrections)
        )

    @property
    def says_it_all(self) -> bool:
        """Whether it shows the object by itself, without what was followed so far."""
        return self.box is not None or self.mask is not None


def read_prompt(path: Path, frames: list[int], width: int, height: int, masks: Path | None = None) -> Prompt:
    """prompt.json as `rectify` writes it, with the masks it names below `masks`.

    Raises CaptureError for a frame that cannot be used or a place outside the picture.
    """
    data = json.loads(path.read_text())
    first = _read(data, frames, width, height, masks)
    return replace(
        first, corrections=tuple(_read(c, frames, width, height, masks, True) for c in data.get("corrections", ()))
    )


def _read(
    data: Mapping[str, Any], frames: list[int], width: int, height: int, masks: Path | None, correction: bool = False
) -> Prompt:
    frame = int(data.get("frame", frames[0]))
    if not any(data.get(k) for k in ("box_xyxy", "points", "mask")):
        return Prompt(frames[0])
    if frame not in frames:
        raise CaptureError(
            f"the prompt is on frame {frame}, which cannot be used",
            f"give the prompt on another frame, such as {frames[0]}",
        )
    if name := data.get("mask"):
        return Prompt(frame, mask=_read_mask(masks, name, width, height))
    box = _box(data["box_xyxy"], width, height) if data.get("box_xyxy") else None
    points = tuple((float(p[0]), float(p[1]), int(p[2])) for p in data.get("points", ()))
    if box is None and not any((k == 1 or correction) and 0 <= x < width and 0 <= y < height for x, y, k in points):
        raise CaptureError(
            f"no point of the prompt marks the object inside the {width} x {height} picture",
            "give at least one [x, y, 1] inside the picture",
        )
    return Prompt(frame, box, points)


def _box(box: Any, width: int, height: int) -> Box:
    x0, y0, x1, y1 = map(float, box)
    inside = max(0.0, min(x1, width - 1) - max(x0, 0.0)) * max(0.0, min(y1, height - 1) - max(y0, 0.0))
    if x1 - x0 < 4 or y1 - y0 < 4 or inside < 0.25 * (x1 - x0) * (y1 - y0):
        raise CaptureError(
            f"the box {list(box)} does not lie in the {width} x {height} picture",
            "give x0, y0, x1, y1 in pixels of the left image, x0 < x1 and y0 < y1",
        )
    return (max(x0, 0.0), max(y0, 0.0), min(x1, width - 1.0), min(y1, height - 1.0))


def _read_mask(folder: Path | None, name: str, width: int, height: int) -> np.ndarray:
    if folder is None or not (folder / name).is_file():
        raise CaptureError(f"the prompt's mask {name} is missing", "run `rectify` again")
    mask = read_mask(folder / name)
    if mask.shape != (height, width) or not mask.any():
        raise CaptureError(f"the prompt's mask {name} is empty or not of {width} x {height} px", "run `rectify` again")
    return mask


def _resized(mask: np.ndarray | None, sx: float, sy: float) -> np.ndarray | None:
    if mask is None or sx == sy == 1:
        return mask
    size = round(mask.shape[1] * sx), round(mask.shape[0] * sy)
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5


def outline_box(mask: np.ndarray, grown: float = 0.0) -> Box:
    """Box round a mask that is not empty, larger by the share `grown` on each side, inside the picture."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    dx, dy = grown * (columns[-1] - columns[0] + 1), grown * (rows[-1] - rows[0] + 1)
    h, w = mask.shape
    return (
        max(0.0, columns[0] - dx),
        max(0.0, rows[0] - dy),
        min(w - 1.0, columns[-1] + dx),
        min(h - 1.0, rows[-1] + dy),
    )
