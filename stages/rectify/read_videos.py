"""left.mp4 + right.mp4: frames pair by their index, so both cameras must have started together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.rectify.raw_pairs import Picture, RawPair


class VideoPairReader:
    """Two videos, read side by side from the start (seeking is not exact in most codecs)."""

    sequential = True

    def __init__(self, left: Path, right: Path) -> None:
        self.left, self.right = left, right
        rates, counts = zip(*(rate_and_count(p) for p in (left, right)), strict=True)
        self.count, self.notes = max(counts), []
        if abs(rates[0] - rates[1]) > 0.01 * max(rates):
            self.notes.append(f"{left.name} has {rates[0]:.2f} frames/s, {right.name} {rates[1]:.2f}: frames paired by index drift apart")

    def numbers(self) -> list[int] | None:
        """See PairReader."""
        return list(range(self.count))

    def stream(self, wanted: Callable[[int], bool] = lambda frame: True) -> Iterator[RawPair]:
        """See PairReader. A side that ends early leaves pairs with one side missing."""
        sides, frame = (frames_of(self.left, wanted), frames_of(self.right, wanted)), 0
        while True:
            left, right = next(sides[0], None), next(sides[1], None)
            if left is None and right is None:
                return
            if wanted(frame):
                yield RawPair(frame, left and Picture(frame=left[1]), right and Picture(frame=right[1]), f"video frame {frame}")
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
            raise CaptureError(f"{path.name} holds no readable frame", "check that it plays; convert it with H.264 in an mp4 container")
    finally:
        video.release()


def open_video(path: Path) -> cv2.VideoCapture:
    """Raises CaptureError for a file that OpenCV cannot open."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise CaptureError(f"{path.name} cannot be opened as a video ({path.stat().st_size} bytes)",
                           "check that it plays; convert it with H.264 in an mp4 container, or give pictures in left/ and right/")
    return video


def rate_and_count(path: Path) -> tuple[float, int]:
    """Frames per second and number of frames as the file states them (0 where it does not)."""
    video = open_video(path)
    out = float(video.get(cv2.CAP_PROP_FPS)), max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    video.release()
    return out
