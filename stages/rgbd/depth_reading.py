"""Depth pictures of any encoding as metres: 16-bit PNG or PGM, TIFF (16 bits or float), NumPy arrays. 0 and not-a-number mean none."""

from __future__ import annotations

import io
import math
import tokenize
from pathlib import Path

import cv2
import numpy as np

from stages.core.errors import CaptureError
from stages.core.images import decode_bytes
from stages.core.picture_size import check_size
from stages.core.plain_files import read_bytes

TUM_UNITS, MILLIMETRES = 5000.0, 1000.0
_WHOLE = (np.uint16, np.int16, np.int32, np.uint32)


def read_raw_depth(path: Path) -> np.ndarray:
    """(h, w) as stored. Raises CaptureError for anything but one channel of 16 bits or more."""
    name = Path(path.parent.name) / path.name
    data = read_bytes(path)
    if path.suffix.lower() == ".npy":
        raw = _array(data, name)
    else:
        check_size(data, name)
        raw = decode_bytes(data, name, cv2.IMREAD_UNCHANGED)
    if raw.ndim == 3 and raw.shape[2] == 1:
        raw = raw[..., 0]
    if raw.ndim != 2:
        raise CaptureError(
            f"{name} has the shape {raw.shape}: a picture for the eye, not depth", "export depth as 16-bit PNG"
        )
    if raw.dtype == np.uint8:
        raise CaptureError(
            f"{name} has 8 bits: 256 steps are no depth", "export depth as 16-bit PNG (millimetres), TIFF or NPY"
        )
    if raw.dtype.type not in _WHOLE and raw.dtype.kind != "f":
        raise CaptureError(f"{name} holds {raw.dtype}", "export depth as 16-bit PNG (millimetres), TIFF or NPY")
    return raw


def _array(data: bytes, name: Path) -> np.ndarray:
    """A NumPy file's array, of no more numbers than there are bytes for, and never of objects, which are programs."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns, dtype = header(stream)
        if dtype.hasobject or dtype.itemsize == 0:
            raise ValueError(f"it holds {dtype}")
        flat = np.frombuffer(data, dtype, math.prod(shape), stream.tell())
        return flat.reshape(shape, order="F" if columns else "C")
    except (ValueError, TypeError, OverflowError, EOFError, SyntaxError, tokenize.TokenError) as e:
        raise CaptureError(
            f"{name} is no array of numbers: {str(e)[:80]}", "save it with numpy.save, without objects"
        ) from e


def units_per_metre(raw: np.ndarray, stated: tuple[float, ...], tum: bool) -> tuple[float, str]:
    """(units of a value per metre, who says so): the first of `stated` (setting, depth.json, camera file) that is not 0, else by kind."""
    for value, who in zip(stated, ("rgbd.depth_scale", "depth/depth.json", "the camera file"), strict=True):
        if value:
            return value, who
    if raw.dtype.kind == "f":
        return 1.0, "fractions count as metres"
    return (TUM_UNITS, "TUM's layout") if tum else (MILLIMETRES, "whole numbers count as millimetres")


def metres(raw: np.ndarray, units: float, least: float, most: float) -> np.ndarray:
    """(h, w) float32, NaN = none."""
    z = raw.astype(np.float32) / np.float32(units)
    return np.where(np.isfinite(z) & (z >= least) & (z <= most), z, np.float32(np.nan))
