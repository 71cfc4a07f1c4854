"""What a mask picture means, whatever program wrote it: which pixels are the object.

0 is the background. Understood are two levels of any height (0/1, 0/255, 0/65535), soft outlines, JPEG with its ringing, labels of a
segmentation (any of them is the object, which is said), a thin line of 255 round labels (not decided there: left out), colours, and
pictures cut out by their alpha channel.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.images import decode_bytes
from stages.core.picture_size import check_size
from stages.core.plain_files import read_bytes

LOSSY_LEAST = 64
"""grey levels that the brightest part of a lossy mask must reach: ringing of a label picture would swallow the labels"""
SOFT = 0.5
"""of the brightest value: where a soft outline is cut"""
LABELS = 64
"""more distinct values than that are a soft outline, not labels"""
VOID = 255
LINE = 11
"""px; an undecided outline is thinner"""
BORDER = 0.8
"""share of the picture's rim that no object covers: more means that white is the background"""


def object_of(image: np.ndarray, name: Path, lossy: bool) -> np.ndarray:
    """(h, w[, c]) as stored -> (h, w) bool. Raises CaptureError for what cannot be understood."""
    values = _one_channel(image)
    top = int(values.max())
    if top == 0:
        return np.zeros(values.shape, bool)
    if lossy:
        if top < LOSSY_LEAST:
            raise CaptureError(
                f"{name} is a lossy picture whose brightest value is {top}: mask and ringing cannot be told apart",
                "save masks as PNG, 0 and 255",
            )
        return values > SOFT * top
    levels = np.unique(values[values > 0])
    if len(levels) > LABELS or _soft(values, levels):
        return values > SOFT * top
    return (values > 0) & (values != VOID) if _void_line(values, levels) else values > 0


def labels_in(image: np.ndarray, lossy: bool) -> int:
    """How many labels a mask picture distinguishes; 1 for plain masks, soft ones and lossy ones."""
    values = _one_channel(image)
    levels = np.unique(values[values > 0])
    if lossy or len(levels) > LABELS or len(levels) < 2 or _soft(values, levels):
        return 1
    return len(levels) - _void_line(values, levels)


def _one_channel(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return image
    if image.shape[2] == 4 and np.ptp(image[..., 3]):
        return image[..., 3]
    return image[..., :3].max(axis=2)


def _void_line(values: np.ndarray, levels: np.ndarray) -> bool:
    """Whether 255 is a thin line round smaller labels, as data sets mark outlines that nobody decided on."""
    if len(levels) < 2 or levels[-1] != VOID or values.dtype != np.uint8 or levels[-2] > LABELS:
        return False
    inside = cv2.erode((values == VOID).astype(np.uint8), np.ones((LINE, LINE), np.uint8))
    return not inside.any()


def _soft(values: np.ndarray, levels: np.ndarray) -> bool:
    """Whether the values between 0 and the brightest lie along an outline only: few pixels, in one thin line."""
    if len(levels) < 3:
        return False
    between = (values > 0) & (values < levels[-1])
    inside = cv2.erode(between.astype(np.uint8), np.ones((5, 5), np.uint8))
    return bool(between.any() and not inside.any())


def refuse_inverted(rims: list[float], shares: list[float], folder: str) -> None:
    """`rims`: share of each picture's rim that its mask covers; `shares`: of the whole picture. Raises CaptureError."""
    around = sum(r > BORDER for r in rims)
    if rims and around > len(rims) / 2:
        raise CaptureError(
            f"{folder}/ looks inverted: {around} of {len(rims)} masks cover the rim of the picture "
            f"and {np.median(shares):.0%} of its area",
            "give masks that are white on the object and black elsewhere",
        )


def rim_share(mask: np.ndarray) -> float:
    """Share of the outermost pixels that the mask covers."""
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float(rim.mean())


def read_mask(path: Path, raw_size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool, the object of a mask picture of any encoding. Raises CaptureError as `read_given`, or where it means nothing."""
    return read_labels(path, raw_size)[0]


def read_labels(path: Path, raw_size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """As `read_mask`, and how many labels the picture distinguishes."""
    image = read_given(path, raw_size, cv2.IMREAD_UNCHANGED)
    with path.open("rb") as f:
        lossy = f.read(4).startswith((b"\xff\xd8", b"RIFF"))  # JPEG, WebP
    return object_of(image, Path(path.parent.name) / path.name, lossy), labels_in(image, lossy)


def read_given(path: Path, raw_size: tuple[int, int], flags: int) -> np.ndarray:
    """A mask or depth picture; raises CaptureError if it is broken or not of the raw picture's size."""
    data, name = read_bytes(path), Path(path.parent.name) / path.name
    width, height = check_size(data, name, raw_size[0] * raw_size[1] * 64e-6)
    if (width, height) == raw_size:
        image = decode_bytes(data, name, flags)
        width, height = image.shape[1::-1]
    if (width, height) != raw_size:
        raise CaptureError(
            f"{name} is {width}x{height} px; the left pictures are {raw_size[0]}x{raw_size[1]} px",
            "give masks and depth in pixels of the left picture as captured",
        )
    return image
