"""The orientation that a camera notes in the EXIF data of a JPEG: how the picture is to be turned for a viewer."""

from __future__ import annotations

import struct
from pathlib import Path

HEAD = 1 << 17
"""bytes; EXIF data stand in the first segment"""
TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored",
    5: "mirrored",
    6: "turned by 90 degrees",
    7: "mirrored",
    8: "turned by 270 degrees",
}
_ORIENTATION = 0x0112


def orientation(path: Path) -> int:
    """1 to 8; 1 (as stored) for other formats, no EXIF data or a senseless value."""
    with path.open("rb") as f:
        data = f.read(HEAD)
    at = data.find(b"Exif\0\0")
    if not data.startswith(b"\xff\xd8") or at < 0:
        return 1
    try:
        found = _entry(data[at + 6 :])
    except struct.error:
        return 1
    return found if found in TURNS else 1


def _entry(tiff: bytes) -> int:
    end = "<" if tiff[:2] == b"II" else ">"
    at = struct.unpack_from(f"{end}I", tiff, 4)[0]
    for k in range(struct.unpack_from(f"{end}H", tiff, at)[0]):
        tag, _, _, value = struct.unpack_from(f"{end}HHIH", tiff, at + 2 + 12 * k)
        if tag == _ORIENTATION:
            return value
    return 1


def note(paths: list[Path]) -> str:
    """A warning for pictures of which the first is to be turned; "" where it is not."""
    found = orientation(paths[0]) if paths and paths[0].is_file() else 1
    if found == 1:
        return ""
    return (
        f"the pictures carry EXIF orientation {found} ({TURNS[found]} for a viewer): they are used as stored, as the calibration of "
        "the sensor holds for them; boxes and masks must be drawn on the pictures as stored"
    )
