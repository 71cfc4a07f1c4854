"""left.mp4 + right.mp4: frames pair by their index, so both cameras must have started together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.frame_names import Number
from stages.core.picture_size import MOST_MEGAPIXELS
from stages.core.plain_files import require_regular
from stages.rectify.pairing import Shift
from stages.rectify.raw_pairs import Picture, RawPair

MOST_FRAMES = 10_000_000
"""what a header may claim; it is only used for progress and to find that a file was cut"""


class VideoPairReader:
    """Two videos, read side by side from the start (seeking is not exact in most codecs)."""

    sequential = True

    def __init__(self, left: Path, right: Path, most_megapixels: float = MOST_MEGAPIXELS) -> None:
        self.left, self.right, self.shift = left, right, Shift()
        rates, counts = zip(*(rate_and_count(p, most_megapixels) for p in (left, right)), strict=True)
        self.count, self.notes = max(counts), []
        if abs(rates[0] - rates[1]) > 0.01 * max(rates):
            self.notes.append(
                f"{left.name} has {rates[0]:.2f} frames/s, {right.name} {rates[1]:.2f}: frames paired by index drift apart"
            )

    def numbers(self) -> list[Number] | None:
        """See PairReader."""
        return [(Fraction(k), 0) for k in range(self.count)]

    def shifted(self, shift: Shift) -> VideoPairReader:
        """The same videos, each left frame with the right one that `shift` names."""
        made = copy(self)
        made.shift = shift
        return made

    def stream(self, wanted: Callable[[int], bool] = lambda frame: True) -> Iterator[RawPair]:
        """See PairReader. A side that ends early, or has no frame of a moment, leaves pairs with one side missing."""

        def needed(j):
            return (k := self.shift.left_of(j)) is not None and wanted(k)

        sides, frame, after = (frames_of(self.left, wanted), frames_of(self.right, needed)), 0, 0
        while True:
            partner, right = self.shift.partner(frame), None
            left = next(sides[0], None)
            while partner is not None and after <= partner:
                right, after = next(sides[1], None), after + 1
            if left is None and right is None:
                return
            if wanted(frame):
                yield RawPair(
                    frame, left and Picture(frame=left[1]), right and Picture(frame=right[1]), f"video frame {frame}"
                )
            frame += 1


def frames_of(path: Path, wanted: Callable[[int], bool]) -> Iterator[tuple[int, np.ndarray | None]]:
    """(index, BGR picture) of every frame; the picture is None where `wanted` does not hold (it is then not converted).

    Raises CaptureError for a file that is no video.
    """
    video = open_video(path)
    try:
        index = 0
        while video.grab():
            picture = video.retrieve()[1] if wanted(index) else None
            yield index, picture
            index += 1
        if index == 0:
            raise CaptureError(
                f"{path.name} holds no readable frame", "check that it plays; convert it with H.264 in an mp4 container"
            )
    finally:
        video.release()


def open_video(path: Path) -> cv2.VideoCapture:
    """Raises CaptureError for a file that OpenCV cannot open."""
    require_regular(path)
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not video.isOpened():
        raise CaptureError(
            f"{path.name} cannot be opened as a video ({path.stat().st_size} bytes)",
            "check that it plays; convert it with H.264 in an mp4 container, or give pictures in left/ and right/",
        )
    return video


def stated_size(path: Path) -> tuple[int, int]:
    """(width, height) by the header."""
    video = open_video(path)
    found = round(video.get(cv2.CAP_PROP_FRAME_WIDTH)), round(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    video.release()
    return found


def rate_and_count(path: Path, most_megapixels: float = MOST_MEGAPIXELS) -> tuple[float, int]:
    """Frames per second and number of frames as the file states them (0 where it does not).

    Raises CaptureError where its header claims larger pictures than `most_megapixels`, before one is decoded.
    """
    video = open_video(path)
    width, height, rate, count = (
        video.get(p)
        for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
    )
    video.release()
    if width * height > most_megapixels * 1e6:
        raise CaptureError(
            f"{path.name}: its header claims {width:.0f}x{height:.0f} px; expected at most {most_megapixels:g} megapixels",
            "replace the file, or raise rectify.max_megapixels if it is right",
        )
    return (rate if 0 < rate < 1e6 else 0.0), int(min(max(0, count), MOST_FRAMES))
