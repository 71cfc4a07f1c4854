"""stereo.mp4: both views side by side in one picture, the left half is the left camera's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.frame_names import Number
from stages.core.picture_size import MOST_MEGAPIXELS
from stages.rectify.raw_pairs import Picture, RawPair
from stages.rectify.read_videos import frames_of, rate_and_count


class StereoVideoReader:
    """One side-by-side video."""

    sequential = True

    def __init__(self, path: Path, most_megapixels: float = MOST_MEGAPIXELS) -> None:
        self.path = path
        self.notes: list[str] = []
        self.count = rate_and_count(path, 2 * most_megapixels)[1]

    def numbers(self) -> list[Number] | None:
        """See PairReader."""
        return [(Fraction(k), 0) for k in range(self.count)]

    def stream(self, wanted: Callable[[int], bool] = lambda frame: True) -> Iterator[RawPair]:
        """See PairReader. Raises CaptureError for a width that cannot be halved."""
        for frame, picture in frames_of(self.path, wanted):
            if picture is not None:
                left, right = halves(picture, self.path.name)
                yield RawPair(frame, Picture(frame=left), Picture(frame=right), f"video frame {frame}")


def halves(picture: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(H, 2 W, ...) -> two (H, W, ...)."""
    width = picture.shape[1]
    if width < picture.shape[0]:
        shape = f"{width}x{picture.shape[0]} px, higher than wide"
        raise CaptureError(f"{name} is {shape}: its views lie over each other (over-under), or it shows one view",
                           "give both views side by side (left half = left camera), or as left.mp4 and right.mp4")
    if width % 2:
        raise CaptureError(f"{name} is {width} px wide; a side-by-side video has an even width", "check how the two views were joined")
    return np.ascontiguousarray(picture[:, :width // 2]), np.ascontiguousarray(picture[:, width // 2:])
