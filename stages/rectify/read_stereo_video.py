"""stereo.mp4: both views in one picture, side by side (the left half is the left camera's) or over-under (left above right).

A picture that is higher than wide is over-under if its halves match as two eyes do; else it is refused, as one view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from stages.core.errors import CaptureError
from stages.core.frame_names import Number
from stages.core.picture_size import MOST_MEGAPIXELS
from stages.rectify.matches import match_pair
from stages.rectify.raw_pairs import Picture, RawPair
from stages.rectify.read_videos import frames_of, rate_and_count, stated_size

ROWS = 0.05
"""of the height of both views; wrong matches miss by more"""
LEAST_MATCHES = 20
TWO_VIEWS = "give both views side by side (left half = left camera), one over the other (left above), or as left.mp4 and right.mp4"


class StereoVideoReader:
    """One side-by-side video."""

    sequential = True

    def __init__(self, path: Path, most_megapixels: float = MOST_MEGAPIXELS) -> None:
        self.path = path
        self.notes: list[str] = []
        self.over_under = False
        self.count = rate_and_count(path, 2 * most_megapixels)[1]
        width, height = stated_size(path)
        if width < height:
            self.over_under = self._halves_match()
            self.notes.append(
                f"{path.name} is {width}x{height} px, higher than wide: read as over-under, left view above the right one"
            )

    def numbers(self) -> list[Number] | None:
        """See PairReader."""
        return [(Fraction(k), 0) for k in range(self.count)]

    def stream(self, wanted: Callable[[int], bool] = lambda frame: True) -> Iterator[RawPair]:
        """See PairReader. Raises CaptureError for a width that cannot be halved."""
        for frame, picture in frames_of(self.path, wanted):
            if picture is not None:
                left, right = (above_and_below if self.over_under else halves)(picture, self.path.name)
                yield RawPair(frame, Picture(frame=left), Picture(frame=right), f"video frame {frame}")

    def _halves_match(self) -> bool:
        """Whether the upper and the lower half of the first frame show the same, on the same rows. Raises CaptureError if not."""
        for _, picture in frames_of(self.path, lambda k: k == 0):
            if picture is not None and picture.shape[0] % 2 == 0:
                uv = match_pair(*above_and_below(picture, self.path.name))
                if np.count_nonzero(np.abs(uv[:, 1] - uv[:, 3]) < ROWS * picture.shape[0]) >= LEAST_MATCHES:
                    return True
            break
        raise CaptureError(
            f"{self.path.name} is higher than wide and its upper and lower half do not match: it shows one view",
            TWO_VIEWS,
        )


def above_and_below(picture: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(2 H, W, ...) -> two (H, W, ...)."""
    height = picture.shape[0]
    if height % 2:
        raise CaptureError(
            f"{name} is {height} px high; an over-under video has an even height", "check how the two views were joined"
        )
    return np.ascontiguousarray(picture[: height // 2]), np.ascontiguousarray(picture[height // 2 :])


def halves(picture: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(H, 2 W, ...) -> two (H, W, ...)."""
    width = picture.shape[1]
    if width % 2:
        raise CaptureError(
            f"{name} is {width} px wide; a side-by-side video has an even width", "check how the two views were joined"
        )
    return np.ascontiguousarray(picture[:, : width // 2]), np.ascontiguousarray(picture[:, width // 2 :])
