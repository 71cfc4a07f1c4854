"""Pictures for the report: the first mask with its prompt, and outlines over frames spread through the video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from stages.core.images import thumbnail_jpeg

COLOURS = {"ok": (60, 220, 60), "given": (60, 160, 255), "uncertain": (255, 170, 0), "lost": (255, 40, 40)}
"""outline colour (RGB) by status"""
TILE_WIDTH = 400
SHOWN = 9


class Sheet:
    """Collects small pictures as the frames pass by; keeps at most `SHOWN` of them, plus the first few doubtful ones."""

    def __init__(self, frames: list[int]) -> None:
        picks = np.unique(np.linspace(0, len(frames) - 1, min(SHOWN, len(frames))).round().astype(int))
        self._wanted = {frames[i] for i in picks}
        self._regular: list[np.ndarray] = []
        self._doubtful: list[np.ndarray] = []
        self._seed: np.ndarray | None = None

    def add(self, frame: int, rgb: Callable[[], np.ndarray], mask: np.ndarray, status: str) -> None:
        """Offer a frame; `rgb` is called only when the frame is shown."""
        doubtful = status in ("uncertain", "lost") and len(self._doubtful) < 6
        if frame not in self._wanted and not doubtful:
            return
        tile = outlined(rgb(), mask, COLOURS[status], f"{frame} {status}")
        if frame in self._wanted:
            self._regular.append(tile)
        if doubtful:
            self._doubtful.append(tile)

    def seed(self, rgb: np.ndarray, mask: np.ndarray, box: tuple[float, float, float, float] | None) -> None:
        """The prompt frame."""
        self._seed = outlined(rgb, mask, COLOURS["ok"], "first mask and prompt", box, width=720)

    def write(self, out: Path) -> list[tuple[str, str]]:
        """Write the JPEGs; returns (caption, path below `out`)."""
        made = [
            ("The first mask; the box is the prompt", "pictures/masks_first.jpg", self._seed),
            ("Outlines through the video", "pictures/masks.jpg", _grid(self._regular)),
            ("Frames to look at: doubtful or lost", "pictures/masks_doubtful.jpg", _grid(self._doubtful)),
        ]
        listed = []
        for caption, name, picture in made:
            if picture is not None:
                thumbnail_jpeg(out / name, picture, width=1080, quality=72)
                listed.append((caption, name))
        return listed


def outlined(
    rgb: np.ndarray,
    mask: np.ndarray,
    colour: tuple[int, int, int],
    text: str,
    box: tuple[float, float, float, float] | None = None,
    width: int = TILE_WIDTH,
) -> np.ndarray:
    """A small copy with what is outside the mask dimmed, its outline drawn and a label."""
    scale = width / rgb.shape[1]
    size = (width, max(1, round(rgb.shape[0] * scale)))
    picture = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    picture = np.where(small[..., None] > 0, picture, (picture * 0.45).astype(np.uint8))
    contours, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)
    if box is not None:
        cv2.rectangle(
            picture,
            (round(box[0] * scale), round(box[1] * scale)),
            (round(box[2] * scale), round(box[3] * scale)),
            (255, 255, 255),
            1,
        )
    cv2.putText(picture, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _grid(tiles: list[np.ndarray], columns: int = 3) -> np.ndarray | None:
    if not tiles:
        return None
    blank = np.zeros_like(tiles[0])
    rows = [
        np.hstack([*tiles[i : i + columns], *[blank] * (columns - len(tiles[i : i + columns]))])
        for i in range(0, len(tiles), columns)
    ]
    return np.vstack(rows)
