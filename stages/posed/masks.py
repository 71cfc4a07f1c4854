"""The object's mask of each picture, from the first source that there is: the alpha channel, a mask file, depth, a plain background."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.core.background import alpha_from_depth, plain_background
from stages.core.errors import CaptureError
from stages.core.images import decode_bytes
from stages.core.picture_size import check_size
from stages.core.plain_files import read_bytes
from stages.core.posed_cameras import PosedCamera

ADVICE = ("give masks/ (or mask/) with a picture per view, pictures with an alpha channel, or depth pictures that are 0 in the background; "
          "a background of one colour is found by itself; new views of a scene need no masks: --route scene")  # fmt: skip

MOST_BETWEEN = 0.3
"""of a mask's pixels that are not black may be neither white: soft edges are"""


def read_raw(path: Path) -> np.ndarray:
    """(H, W[, C]) as stored, BGR order. Raises CaptureError."""
    data = read_bytes(path)
    check_size(data, path)
    return decode_bytes(data, path, cv2.IMREAD_UNCHANGED)


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """((H, W, 3) uint8 RGB, alpha (H, W) uint8 or None where there is none, or it is 255 all over). Raises CaptureError."""
    raw = read_raw(path)
    if raw.dtype == np.uint16:
        raw = (raw >> 8).astype(np.uint8)
    if raw.dtype != np.uint8:
        raise CaptureError(f"{path} has pixels of {raw.dtype}", "save 8-bit or 16-bit pictures")
    if raw.ndim == 2:
        return cv2.cvtColor(raw, cv2.COLOR_GRAY2RGB), None
    if raw.shape[2] == 4:
        alpha = raw[..., 3]
        return cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB), None if (alpha == 255).all() else np.ascontiguousarray(alpha)
    return cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), None


def mask_of(camera: PosedCamera, picture: np.ndarray, alpha: np.ndarray | None, wanted: str) -> tuple[np.ndarray, str]:
    """((H, W) bool, which source). Raises CaptureError where the wanted one, or any, is missing."""
    size = picture.shape[1::-1]
    found: np.ndarray | None = None
    if wanted == "none":
        return np.ones(picture.shape[:2], bool), wanted
    for source in ("alpha", "given", "depth", "plain") if wanted == "auto" else (wanted,):
        match source:
            case "given" if camera.mask is not None:
                found = _given(camera.mask, size)
            case "alpha" if alpha is not None:
                found = alpha > 127
            case "depth" if camera.depth is not None:
                found = alpha_from_depth(_single(read_raw(camera.depth)), size)
            case "plain":
                found = plain_background(picture)
        if found is not None:
            return found, source
    what = "a mask of any kind" if wanted == "auto" else f"a mask by posed.masks={wanted}"
    raise CaptureError(f"{camera.name}: the picture does not have {what}", ADVICE)


def _given(path: Path, size: tuple[int, int]) -> np.ndarray:
    mask = _single(read_raw(path))
    if mask.shape[::-1] != tuple(size):
        if abs(mask.shape[1] * size[1] - mask.shape[0] * size[0]) > max(mask.shape) * 2:
            found = f"{mask.shape[1]}x{mask.shape[0]} px, its picture {size[0]}x{size[1]}"
            raise CaptureError(f"{path} has {found}", "masks must fit the pictures")
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    least = np.iinfo(mask.dtype).max // 2 if mask.max() > 1 else 0
    between = float(((mask > 0.06 * mask.max()) & (mask < 0.94 * mask.max())).sum()) / max(1, int((mask > 0).sum()))
    if between > MOST_BETWEEN:
        raise CaptureError(
            f"{path} is no mask: {100 * between:.0f} % of what is not black is grey", "give masks in black and white"
        )
    return mask > least


def _single(raw: np.ndarray) -> np.ndarray:
    """(H, W): the alpha of four channels if it says anything, else the brightest channel."""
    if raw.ndim == 2:
        return raw
    if raw.shape[2] == 4 and (raw[..., 3] != raw[0, 0, 3]).any():
        return raw[..., 3]
    return raw[..., :3].max(-1)


def depth_of(camera: PosedCamera, unit: float, size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) float64 depth along the optical axis, world units, NaN = none; None without a depth picture that holds lengths (16 bit or
    float). Eight bits are a picture of depth: good for a mask, not for lengths."""
    if camera.depth is None:
        return None
    raw = read_raw(camera.depth)
    if raw.ndim != 2 or raw.dtype == np.uint8:
        return None
    depth = np.where(np.isfinite(raw) & (raw > 0), raw.astype(float) * unit, np.nan)
    return cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT) if depth.shape[::-1] != tuple(size) else depth
