"""Reading and writing pictures and the per-frame maps, each with its encoding written beside it.

RGB order outside cv2. Disparity: uint16 PNG in 1/64 px, 0 = none. Sigma (standard deviation of the disparity): uint16 PNG in
1/256 px, 0 = none. Masks: 0 / 255.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.picture_size import check_size
from stages.core.plain_files import read_bytes

DISPARITY_SCALE = 64.0
SIGMA_SCALE = 256.0
THUMBNAIL_BYTES = 150_000


_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_rgb(path: Path, reduce: int = 1) -> np.ndarray:
    """(H, W, 3) uint8 RGB (grey files come back with three equal channels). Raises CaptureError for a missing or broken file.

    `reduce` 2, 4 or 8 decodes at that fraction of the size, several times faster for JPEG; reduced pixel k averages pixels
    k * reduce to (k + 1) * reduce - 1.
    """
    return cv2.cvtColor(_decode(path, _REDUCED[reduce]), cv2.COLOR_BGR2RGB)


def read_gray(path: Path) -> np.ndarray:
    """(H, W) uint8 luminance. Raises CaptureError for a missing or broken file."""
    return _decode(path, cv2.IMREAD_GRAYSCALE)


def write_rgb(path: Path, image: np.ndarray, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 RGB or (H, W) uint8 as PNG (fast level) or JPEG by the suffix."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    flags = (
        [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix in (".jpg", ".jpeg") else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    )
    _encode(path, bgr, flags)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """(H, W) bool -> 0/255 PNG."""
    _encode(path, np.where(mask, np.uint8(255), np.uint8(0)), [cv2.IMWRITE_PNG_COMPRESSION, 4])


def read_mask(path: Path) -> np.ndarray:
    """(H, W) bool."""
    return _decode(path, cv2.IMREAD_GRAYSCALE) > 127


def write_disparity(path: Path, disparity_px: np.ndarray) -> None:
    """(H, W) float px, 0 or NaN = none -> uint16 PNG in 1/64 px."""
    _encode(path, _quantise(disparity_px, DISPARITY_SCALE), [cv2.IMWRITE_PNG_COMPRESSION, 1])


def read_disparity(path: Path) -> np.ndarray:
    """(H, W) float32 px, NaN = none."""
    return _dequantise(path, DISPARITY_SCALE)


def write_sigma(path: Path, sigma_px: np.ndarray) -> None:
    """(H, W) float px standard deviation, 0 or NaN = none -> uint16 PNG in 1/256 px."""
    _encode(path, _quantise(sigma_px, SIGMA_SCALE), [cv2.IMWRITE_PNG_COMPRESSION, 1])


def read_sigma(path: Path) -> np.ndarray:
    """(H, W) float32 px, NaN = none."""
    return _dequantise(path, SIGMA_SCALE)


def write_depth(path: Path, depth: np.ndarray) -> None:
    """(H, W) float, NaN = none -> float32 TIFF, 0 = none."""
    _encode(path, np.nan_to_num(depth, nan=0.0).astype(np.float32), [])


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32, NaN = none."""
    depth = _decode(path, cv2.IMREAD_UNCHANGED)
    return np.where(depth > 0, depth, np.float32(np.nan))


def thumbnail_jpeg(path: Path, image: np.ndarray, width: int = 480, quality: int = 80) -> None:
    """Write a small JPEG of an RGB picture for reports (area-resampled to `width`), at a lower quality where it would pass 150 kB."""
    scale = min(1.0, width / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    for q in (quality, 60, 40, 20):
        write_rgb(path, small, min(q, quality))
        if path.stat().st_size <= THUMBNAIL_BYTES:
            return


def _quantise(values: np.ndarray, scale: float) -> np.ndarray:
    v = np.where(np.isfinite(values) & (values > 0), values, 0.0) * scale
    # a tiny positive value must not round to 0, which means "none"
    return np.where(v > 0, np.clip(np.rint(v), 1, 65535), 0).astype(np.uint16)


def _dequantise(path: Path, scale: float) -> np.ndarray:
    raw = _decode(path, cv2.IMREAD_UNCHANGED)
    return np.where(raw > 0, raw.astype(np.float32) / np.float32(scale), np.float32(np.nan))


def _decode(path: Path, flags: int) -> np.ndarray:
    data = read_bytes(path)
    check_size(data, path)
    return decode_bytes(data, path, flags)


def decode_bytes(data: bytes, path: Path, flags: int) -> np.ndarray:
    """What cv2.imdecode makes of a picture whose header was checked. Raises CaptureError, never None or cv2.error.

    Pixels come as stored: a calibration belongs to the sensor, so an orientation in the EXIF data must not turn them.
    """
    try:
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), flags if flags < 0 else flags | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as e:
        raise CaptureError(f"{path} cannot be decoded: {str(e).strip()[-200:]}", "replace or remove the file") from e
    if image is None:
        raise CaptureError(
            f"{path} is not a readable picture ({len(data)} bytes)", "replace or remove the file; it may be truncated"
        )
    return image


def _encode(path: Path, image: np.ndarray, flags: list[int]) -> None:
    ok, data = cv2.imencode(Path(path).suffix, image, flags)
    if not ok:
        raise ValueError(f"cannot encode {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
