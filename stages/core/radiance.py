"""Radiance pictures (.hdr), as much of them as an environment light needs.

probe.hdr is lat-long in the twin frame (x right, y up, z back). Pixel (row r, column c) of H rows and 2 H columns looks along
theta = pi (r + 0.5) / H from +y and phi = pi (c + 0.5) / H: (sin phi sin theta, cos theta, -cos phi sin theta). The middle column
looks along +z, to the viewer; it is the layout of Mitsuba's `envmap`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_hdr(path: Path, light: np.ndarray) -> None:
    """(H, W, 3) radiance as a Radiance picture (RGBE, uncompressed scanlines: every reader knows them)."""
    height, width = light.shape[:2]
    peak = np.maximum(light.max(-1), 1e-30)
    mantissa, exponent = np.frexp(peak)
    scale = mantissa * 256 / peak
    rgbe = np.concatenate([np.clip(np.floor(light * scale[..., None]), 0, 255), (exponent + 128)[..., None]], -1)
    rgbe[peak < 1e-20] = 0
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    path.write_bytes(head.encode() + rgbe.astype(np.uint8).tobytes())
