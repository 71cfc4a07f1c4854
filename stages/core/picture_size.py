"""Format and size of a picture from its header, before a decoder reserves memory for what the header claims.

A JPEG of 6 kB can claim 4 thousand megapixels, and the decoder takes 6 GB for it. Only the formats below are decoded at all: every
further decoder in OpenCV is one more parser that foreign bytes reach.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from stages.core.errors import CaptureError

MOST_MEGAPIXELS = 100.0
"""default limit; the largest sensors of today have 100 to 150"""


def check_size(data: bytes, path: Path, most_megapixels: float = MOST_MEGAPIXELS) -> tuple[int, int]:
    """(width, height) by the header. Raises CaptureError for a format that is not read, no header, or too many pixels."""
    size = picture_size(data)
    if size is None:
        raise CaptureError(
            f"{path} is not a readable picture ({len(data)} bytes, {_looks_like(data)})",
            "copy the file again or remove it; pictures are PNG or JPEG",
        )
    width, height = size
    if width * height > most_megapixels * 1e6:
        raise CaptureError(
            f"{path}: its header claims {width}x{height} px, {width * height / 1e6:,.0f} megapixels; "
            f"expected at most {most_megapixels:g}",
            "replace the file, or raise rectify.max_megapixels if it is right",
        )
    return size


def picture_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of PNG, JPEG, BMP, TIFF, WebP, PNM, PFM or EXR; None for anything else or a header that is cut or senseless."""
    reader = next((read for magic, read in _READERS if data.startswith(magic)), None)
    if reader is None:
        return None
    try:
        size = reader(data)
    except (struct.error, IndexError, ValueError):
        return None
    return size if size and size[0] > 0 and size[1] > 0 else None


def _looks_like(data: bytes) -> str:
    return "empty" if not data else f"begins with {data[:8]!r}"


def _png(data: bytes) -> tuple[int, int] | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Every frame header counts: the largest of them, as a file may hold more than one."""
    at, found = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = data[at + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD9:  # stuffing, fill, markers without length
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            found = max(found or (0, 0), (width, height), key=lambda s: s[0] * s[1])
        at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
        if marker == 0xDA and found:
            break  # entropy-coded data follow; a decoder stops at a second frame header
    return found


def _bmp(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)


def _tiff(data: bytes) -> tuple[int, int] | None:
    end = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(f"{end}I", data, 4)[0]
    size: dict[int, int] = {}
    for k in range(struct.unpack_from(f"{end}H", data, at)[0]):
        tag, kind = struct.unpack_from(f"{end}HH", data, at + 2 + 12 * k)
        if tag in (256, 257):
            size[tag] = struct.unpack_from(f"{end}H" if kind == 3 else f"{end}I", data, at + 10 + 12 * k)[0]
    return (size[256], size[257]) if len(size) == 2 else None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16] if data[8:12] == b"WEBP" else b""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _netpbm(data: bytes) -> tuple[int, int]:
    """PNM and PFM: two numbers after the magic, comments between them."""
    words: list[bytes] = []
    for line in data[2:2048].split(b"\n"):
        words += line.partition(b"#")[0].split()
        if len(words) >= 2:
            break
    width, height = int(words[0][:10]), int(words[1][:10])
    return width, height


def _exr(data: bytes) -> tuple[int, int] | None:
    at = data.find(b"dataWindow\0box2i\0", 8, 65536)
    if at < 0:
        return None
    x0, y0, x1, y1 = struct.unpack_from("<iiii", data, at + 21)
    return x1 - x0 + 1, y1 - y0 + 1


_READERS: tuple[tuple[bytes, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"RIFF", _webp),
    *((b"P%c" % c, _netpbm) for c in b"123456Ff"),
    (b"v/1\x01", _exr),
)
