"""What earlier runs, other machines and other versions left on disk as JSON, read with care: one damaged file must not stop whoever reads
a thousand. All of flows/ reads such files here; who reads many names each that is set aside and goes on.
"""

from __future__ import annotations

import functools
import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from flows.records.names import printable

MOST_BYTES = 64 << 20
"""a run's record takes some kilobytes"""
T = TypeVar("T")


class Unreadable(Exception):
    """A file that is left aside: `path` as it can be printed, and `why`."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{printable(path)}: {why}")
        self.path, self.why = path, why


def read_object(path: Path, newest: int | None = None) -> dict[str, Any]:
    """The JSON object in a file. `newest`: the latest schema_version that is understood.

    Raises FileNotFoundError, and Unreadable for whatever else is wrong with it.
    """
    try:
        data = json.loads(_bytes_of(path))
    except FileNotFoundError:
        raise
    except OSError as e:
        raise Unreadable(path, f"it cannot be read ({e.strerror})") from e
    except (ValueError, RecursionError) as e:
        raise Unreadable(path, f"it is no JSON ({type(e).__name__}: {str(e)[:100]})") from e
    if not isinstance(data, dict):
        raise Unreadable(
            path, f"a JSON object was expected, {'null' if data is None else type(data).__name__} was found"
        )
    if newest is not None:
        _refuse_newer(path, data.get("schema_version", 1), newest)
    return data


def saved_as(kind: type[T], data: dict[str, Any], path: Path) -> T:
    """A dataclass with these fields, their types checked; fields that it does not know are ignored. Raises Unreadable."""
    try:
        return _adapter(kind).validate_python(data)
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise Unreadable(path, f"{where}: {first['msg']}, found {str(first['input'])[:60]!a}") from e


def beyond(known: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """What `data` says and `known` has no place for, nested as it was."""
    found = {}
    for name, value in data.items():
        if name not in known:
            found[name] = value
        elif isinstance(value, dict) and isinstance(known[name], dict) and (inner := beyond(known[name], value)):
            found[name] = inner
    return found


def with_beyond(data: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`data` and what was `beyond` it; what is known goes before."""
    merged = dict(data)
    for name, value in more.items():
        if name not in data:
            merged[name] = value
        elif isinstance(value, dict) and isinstance(data[name], dict):
            merged[name] = with_beyond(data[name], value)
    return merged


@functools.cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)


def _bytes_of(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # or a pipe of that name would be waited for
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable(path, "it is no regular file")
        if about.st_size > MOST_BYTES:
            raise Unreadable(path, f"it has {about.st_size} bytes")
        return file.read()


def _refuse_newer(path: Path, version: Any, newest: int) -> None:
    if type(version) is not int or version < 1:
        raise Unreadable(path, f"schema_version: a number was expected, {str(version)[:60]!a} was found")
    if version > newest:
        raise Unreadable(
            path, f"a newer version of this program wrote it (schema_version {version}; this one reads up to {newest})"
        )
