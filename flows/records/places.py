"""Where captures arrive and twins go when runs are started from the UI, by schedule or by a READY marker."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from flows.records.s3_addresses import address_of, twin_name, twins_address
from stages.core.errors import CaptureError
from stages.core.fingerprint import digest_mapping
from stages.core.store import default_root

PICK_URL = "TWIN_PICK_URL"
"""variable with the address of the pages on which objects are marked, where they are served"""


def captures_root() -> Path:
    """Where captures are looked up by name: TWIN_CAPTURES, else <store>/captures."""
    return Path(os.environ.get("TWIN_CAPTURES") or default_root() / "captures").expanduser().resolve()


def twins_root() -> Path:
    """Where twins go: TWIN_TWINS, else <store>/twins."""
    return Path(os.environ.get("TWIN_TWINS") or default_root() / "twins").expanduser().resolve()


def twin_folder(capture: Path) -> Path:
    """Below `twins_root` as the capture lies below `captures_root`; captures from elsewhere get a name that tells them apart.

    Raises CaptureError for the captures folder itself, whose twin would be the folder of all twins.
    """
    if address := address_of(capture):
        return twins_root() / twin_name(address)
    if capture.resolve() == captures_root():
        raise CaptureError(f"{capture} is the folder of all captures", "name a capture in it")
    if capture.is_relative_to(captures_root()):
        return twins_root() / capture.relative_to(captures_root())
    return twins_root() / f"{capture.name}-{hashlib.sha256(str(capture).encode()).hexdigest()[:6]}"


def twin_address(out: Path) -> str:
    """Where a twin below `twins_root` is sent by TWIN_TWINS_S3; empty without it, and for twins elsewhere."""
    root = twins_address()
    return f"{root}/{out.relative_to(twins_root()).as_posix()}" if root and out.is_relative_to(twins_root()) else ""


def capture_folder(name: str) -> Path:
    """A name below `captures_root`, or an absolute path. Raises CaptureError for a name that leads out of the captures folder, or to it."""
    path = Path(name).expanduser()
    if path.is_absolute():
        return path
    inside = (captures_root() / path).resolve()
    if not inside.is_relative_to(captures_root()) or inside == captures_root():
        raise CaptureError(f"{name} is not below {captures_root()}", "give the name of a capture, or an absolute path")
    return inside


def twin_lock(folder: Path) -> str:
    """Name of the lock of a twin folder, which whoever fills or empties it holds."""
    return digest_mapping({"twin folder": str(folder)})
