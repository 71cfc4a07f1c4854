"""Reads MATLAB's MAT-files of version 5 to 7 as plain data: numbers, text, lists and structures, by the published format.

A reader of our own: what libraries have for it ends the process on a damaged file. Everything is checked against the bytes that are there.
Objects of classes, functions and sparse matrices become None.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_UNPACKED = 1 << 24
MOST_DEEP, MOST_FIELDS = 12, 10_000
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
}
"""type of an element's data"""
_MATRIX, _COMPRESSED, _NAMES = 14, 15, 1
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
"""classes of arrays"""


class MatError(ValueError):
    """The file is not what the format says."""


def read_mat(data: bytes) -> dict[str, Any]:
    """{name: value} of a file of version 5 to 7. Raises MatError."""
    if len(data) < 128:
        raise MatError("it ends within its header")
    end = {b"IM": "<", b"MI": ">"}.get(data[126:128], "")
    if not end:
        raise MatError("its header names no byte order")
    out: dict[str, Any] = {}
    reader = _Reader(data, end, 128, len(data))
    while reader.at + 8 <= reader.end:
        kind, body = reader.element()
        if kind == _COMPRESSED:
            kind, body = _unpacked(body, end)
        if kind != _MATRIX:
            raise MatError(f"a variable of type {kind}")
        name, value = _array(body, 0)
        out[name] = value
    return out


def _unpacked(body: _Reader, end: str) -> tuple[int, _Reader]:
    worker = zlib.decompressobj()
    try:
        plain = worker.decompress(body.rest(), MOST_UNPACKED)
    except zlib.error as e:
        raise MatError(f"packed data are damaged ({e})") from e
    if worker.unconsumed_tail:
        raise MatError(f"a variable of more than {MOST_UNPACKED >> 20} MB")
    return _Reader(plain, end, 0, len(plain)).element()


@dataclass
class _Reader:
    """A part of the file, and how far it was read."""

    data: bytes
    order: str
    at: int
    end: int

    def element(self) -> tuple[int, _Reader]:
        """Type and content of the next element; steps over its padding."""
        if self.at + 8 > self.end:
            raise MatError("it ends within an element")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        if kind >> 16:  # four bytes or fewer stand in the tag itself
            first, size, after, kind = self.at + 4, kind >> 16, self.at + 8, kind & 0xFFFF
            if size > 4:
                raise MatError("a short element of more than four bytes")
        else:
            first = self.at + 8
            after = first + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if first + size > self.end:
            raise MatError("it ends within an element")
        self.at = min(after, self.end)
        return kind, _Reader(self.data, self.order, first, first + size)

    def rest(self) -> bytes:
        """What was not read yet."""
        return self.data[self.at : self.end]

    def numbers(self) -> np.ndarray:
        """Of the next element."""
        kind, body = self.element()
        if kind not in _NUMBERS:
            raise MatError(f"data of type {kind} where numbers are expected")
        width = np.dtype(_NUMBERS[kind]).itemsize
        raw = body.rest()
        return np.frombuffer(raw[: len(raw) // width * width], np.dtype(_NUMBERS[kind]).newbyteorder(self.order))


def _array(body: _Reader, depth: int) -> tuple[str, Any]:
    """Name and value of an array."""
    if depth > MOST_DEEP:
        raise MatError(f"structures within structures, more than {MOST_DEEP} deep")
    if body.at == body.end:
        return "", []
    flags = body.numbers()
    if not len(flags):
        raise MatError("an array without flags")
    cls = int(flags[0]) & 0xFF
    if cls not in (_CELL, _STRUCT, _CHAR, *_NUMERIC):
        return f"({cls})", None
    shape = [int(n) for n in body.numbers()]
    count = int(np.prod(np.array(shape, object))) if shape and min(shape) >= 0 else -1
    if not 0 <= count <= MOST_UNPACKED:
        raise MatError(f"an array of {shape} values")
    name = bytes(body.numbers().astype(np.uint8)).decode("latin-1")
    if cls in _NUMERIC:
        return name, _shaped(body.numbers(), shape, count)
    if cls == _CHAR:
        return name, "".join(chr(int(c)) for c in body.numbers()[:count])
    return name, _structures(body, count, depth) if cls == _STRUCT else [
        _inner(body, depth) for _ in range(_few(count))
    ]


def _structures(body: _Reader, count: int, depth: int) -> Any:
    """A dictionary for one structure, a list for several."""
    width = body.numbers()
    if len(width) != 1 or not 1 <= int(width[0]) <= 4096:
        raise MatError("a structure whose names have no length")
    kind, text = body.element()
    if kind != _NAMES:
        raise MatError("a structure without names")
    raw, size = text.rest(), int(width[0])
    names = [raw[k : k + size].split(b"\0")[0].decode("latin-1") for k in range(0, len(raw), size)]
    made = [
        {n: _inner(body, depth) for n in names} for _ in range(_few(count * max(1, len(names))) // max(1, len(names)))
    ]
    return made[0] if len(made) == 1 else made


def _few(count: int) -> int:
    if count > MOST_FIELDS:
        raise MatError(f"{count:,} fields")
    return count


def _inner(body: _Reader, depth: int) -> Any:
    kind, inside = body.element()
    if kind != _MATRIX:
        raise MatError(f"a field of type {kind}")
    return _array(inside, depth + 1)[1]


def _shaped(values: np.ndarray, shape: list[int], count: int) -> Any:
    """A number, a list for a row or a column, a list of rows for more."""
    if len(values) < count:
        raise MatError(f"{len(values)} numbers where {count} are announced")
    full = values[:count].reshape(shape, order="F").astype(np.float64)
    if count == 1:
        return float(full.ravel()[0])
    return full.ravel().tolist() if max(shape) == count else full.tolist()
