"""Content digests. A fingerprint holds what decides a result and nothing else: never a path, a time, a commit or a repr."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, streamed."""
    h = hashlib.sha256()
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK):
            h.update(chunk)
    return h.hexdigest()


def digest_files(root: Path, relative: list[str]) -> dict[str, str]:
    """{relative path: sha256}, sorted by path."""
    return {name: digest_file(root / name) for name in sorted(relative)}


def digest_mapping(values: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of plain data (see `plain`)."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def canonical_json(values: Any) -> str:
    """Sorted keys, no spaces, floats by their shortest exact form; NaN is refused."""
    return json.dumps(plain(values), sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: Any) -> Any:
    """Dataclasses, enums, tuples and paths as JSON types. Raises TypeError for anything else, so that no repr slips into a digest."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return plain(value.item())
    raise TypeError(f"{type(value).__name__} cannot be part of a fingerprint")
