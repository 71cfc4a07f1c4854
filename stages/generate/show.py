"""Pictures for the report: what is invented in them is magenta, so that nobody takes it for the object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.core.images import thumbnail_jpeg

MOST, SIDE_PX = 6, 220
MAGENTA = np.array([255, 0, 200], np.float32)


def marked(picture: np.ndarray, invented: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, half magenta where `invented` (H, W)."""
    return np.where(invented[..., None], 0.5 * picture + 0.5 * MAGENTA, picture).astype(np.uint8)


def sheet(out: Path, views: list[Any]) -> list[tuple[str, str]]:
    """One picture of the first few views, above as they are, below as marked: (caption, path)."""
    small = lambda a: cv2.resize(a, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)  # noqa: E731
    columns = [np.vstack([small(v.picture), small(marked(v.picture, v.invented))]) for v in views[:MOST]]
    thumbnail_jpeg(out / "pictures/views.jpg", np.hstack(columns), 1280)
    return [("views from where no picture was taken; below, magenta: invented by the model", "pictures/views.jpg")]
