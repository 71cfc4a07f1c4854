"""First pass over the pictures: what each view sees, and the colours of a sparse set of surface points in all of them.

What is kept per view is bounded: a depth map of at most 0.4 million pixels and a grey picture of about as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np

from stages.core.camera import Rig
from stages.core.parallel import ordered_map
from stages.core.render import Caster
from stages.core.texels.gather import camera_vector, observe
from stages.core.texels.views import (
    MAX_RAYS,
    Sight,
    View,
    Window,
    object_window,
    picture_window,
    sight,
)


class Pictures(Protocol):
    """What is read of the frames, one picture or mask at a time: files (`FrameReader`), or pictures in memory."""

    def mask(self, frame: int) -> np.ndarray:
        """(H, W) bool of the left picture."""
        ...

    def rgb(self, frame: int, side: str, reduce: int) -> np.ndarray:
        """(H / reduce, W / reduce, 3) uint8."""
        ...

    def hidden(self, frame: int, side: str) -> np.ndarray | None:
        """(H, W) bool: something stands before the object there; None = nowhere."""
        ...


@dataclass(frozen=True)
class Source:
    """Where colours come from: the cameras, their pictures, the limits of `observe`, and the threads that look."""

    rig: Rig
    pictures: Pictures
    limits: np.ndarray
    workers: int


@dataclass
class Surveyed:
    """A view that sees the object: its sight, a small picture (RGB uint8) with its window, and what it shows of the survey points:
    colour (N, 3) float32 grey levels, weight (N,) float32, 0 = not seen."""

    view: View
    sight: Sight
    picture: np.ndarray
    window: Window
    colour: np.ndarray
    weight: np.ndarray


def survey(
    views: list[View], source: Source, caster: Caster, points: np.ndarray, normals: np.ndarray
) -> Iterator[Surveyed | None]:
    """One result per view, in order; None for a view in which nothing of the object can be used. points, normals (N, 3) float32."""

    rig, pictures, workers = source.rig, source.pictures, source.workers
    mask_of = lru_cache(maxsize=workers + 2)(pictures.mask)  # left and right of a frame come one after the other

    def one(view: View) -> Surveyed | None:
        window = object_window(view, rig, caster.vertices)
        if window is None:
            return None
        hidden = pictures.hidden(view.frame, "right") if view.side == "right" else None
        seen = sight(view, rig, caster, window, left_mask=mask_of(view.frame), hidden_right=hidden)
        small = picture_window(window, reduction(1.4 * np.sqrt(window.width * window.height / MAX_RAYS)))
        picture = small.cut(pictures.rgb(view.frame, view.side, round(1 / small.scale)))
        colour, weight = np.zeros(points.shape, np.float32), np.zeros(len(points), np.float32)
        observe(
            points,
            normals,
            camera_vector(view, rig, seen, small, low=small),
            seen.depth,
            border=seen.border,
            limits=source.limits,
            image=picture,
            colour=colour,
            weight=weight,
        )
        return Surveyed(view, seen, picture, small, colour=colour, weight=weight) if weight.any() else None

    return ordered_map(one, views, workers)


def reduction(ratio: float) -> int:
    """1, 2, 4 or 8: the largest that is not above `ratio`, the number of pixels, along a line, that may become one."""
    return int(2 ** np.clip(np.floor(np.log2(max(ratio, 1e-9))), 0, 3))


def compensated_grey(picture: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 and tables (3, 257) -> (h, w) float32 luminance after exposure compensation, slightly smoothed for gradients."""
    levels = np.stack([tables[c][picture[..., c]] for c in range(3)], -1)
    return cv2.GaussianBlur(levels @ np.array([0.299, 0.587, 0.114], np.float32), None, 0.8)
