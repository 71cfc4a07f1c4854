"""What every capture reader yields: raw pairs in capture order, pixels read only when asked for (in a worker thread for files).

A frame's id is its index in capture order over the union of both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.frame_names import Number
from stages.core.images import decode_bytes
from stages.core.picture_size import MOST_MEGAPIXELS, check_size
from stages.core.plain_files import read_bytes


@dataclass(frozen=True)
class Picture:
    """One raw picture: a file, or the pixels a video gave."""

    file: Path | None = None
    frame: np.ndarray | None = None
    most_megapixels: float = MOST_MEGAPIXELS

    def pixels(self) -> np.ndarray:
        """(H, W) or (H, W, 3) BGR uint8. Raises CaptureError for a file that is truncated or no picture."""
        if self.file is not None:
            return decode(self.file, self.most_megapixels)
        if self.frame is None:
            raise ValueError("a picture needs a file or pixels")
        return self.frame


@dataclass(frozen=True)
class RawPair:
    """One frame of the capture; a side that is missing is None."""

    frame: int
    left: Picture | None
    right: Picture | None
    name: str
    """what to call it in messages"""


class PairReader(Protocol):
    """A kind of capture: image folders, two videos, one side-by-side video."""

    sequential: bool
    """True: frames come from a video and neighbours may be nearly alike"""
    count: int
    """frames; of a video what its header says, which may be a few off"""
    notes: list[str]
    """warnings the reader has"""

    def numbers(self) -> list[Number] | None:
        """The number that the names of masks and depth pictures carry for each frame; None = they go by order."""

    def stream(self, wanted: Callable[[int], bool] = lambda frame: True) -> Iterator[RawPair]:
        """The frames for which `wanted` holds, in order. May be called again; never keeps pictures."""
        ...


def decode(path: Path, most_megapixels: float = MOST_MEGAPIXELS) -> np.ndarray:
    """(H, W) or (H, W, 3) BGR uint8 of a whole PNG or JPEG. A truncated JPEG decodes without complaint, so its end is looked for.

    The header is read first: a picture of more than `most_megapixels` is refused before memory is reserved for it.
    """
    data, name = read_bytes(path, shown=path.name), Path(path.name)
    if data and is_truncated(data):
        raise CaptureError(
            f"{path.name} is truncated ({len(data)} bytes, no end of image)", "copy the file again or remove it"
        )
    check_size(data, name, most_megapixels)
    return decode_bytes(data, name, cv2.IMREAD_ANYCOLOR)


def in_rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB of grey or BGR pixels."""
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB)


def is_truncated(data: bytes) -> bool:
    """Whether a PNG or JPEG stops before its end mark (IEND; EOI after the first scan, so that the one of a thumbnail does not count)."""
    if data.startswith(b"\x89PNG"):
        return data.rfind(b"IEND") < 0
    if data.startswith(b"\xff\xd8"):
        scan = _first_scan(data)
        return scan < 0 or data.find(b"\xff\xd9", scan) < 0
    return False


def _first_scan(data: bytes) -> int:
    """Offset of the first start-of-scan segment of a JPEG, -1 if there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            return at
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill byte, or a marker without length
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return -1
