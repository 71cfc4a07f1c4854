"""Where captures and twins of a bucket stand on this machine, and what they are called there.

    s3://BUCKET/captures/DAY/NAME  ->  <store>/staged/captures/<s3's folder, quoted>/NAME

The local place tells the address, so a run's record, which names the place, tells it too.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote, unquote

from stages.core.bucket import SCHEME, is_address
from stages.core.errors import CaptureError, ConfigError
from stages.core.store import default_root

CAPTURES, TWINS = "TWIN_CAPTURES_S3", "TWIN_TWINS_S3"
MOST_CHARACTERS = 200
"""of a folder's name on this machine: filesystems take 255 bytes"""


def staging_root() -> Path:
    """What is here of captures and twins whose place is a bucket."""
    return default_root() / "staged"


def checked_address(text: str) -> str:
    """s3://BUCKET/FOLDER/NAME without a slash at the end. Raises CaptureError for one that names nothing, or that no folder could have."""
    parts = text.removeprefix(SCHEME).rstrip("/").split("/")
    if not is_address(text) or len(parts) < 2:
        raise CaptureError(f"{text} names no folder in a bucket", "give s3://BUCKET/FOLDER/NAME")
    if any(p in ("", ".", "..") or "\0" in p or "\\" in p for p in parts):
        raise CaptureError(f"{text} has a part that no folder can have", "give s3://BUCKET/FOLDER/NAME")
    if len(quote("/".join(parts[:-1]), safe="")) > MOST_CHARACTERS or len(parts[-1].encode()) > MOST_CHARACTERS:
        raise CaptureError(
            f"{text[:80]}.. is too long a name", f"names of folders may have {MOST_CHARACTERS} characters together"
        )
    return SCHEME + "/".join(parts)


def place_of_address(address: str, what: str = "captures") -> Path:
    """Where it is put on this machine; `what`: captures, twins, coming."""
    folder, _, name = checked_address(address).removeprefix(SCHEME).rpartition("/")
    return staging_root() / what / quote(folder, safe="") / name


def address_of(place: Path, what: str = "captures") -> str:
    """The address of a staged capture, or twin; empty for any other folder."""
    above = place.parent
    if above.parent != staging_root() / what:
        return ""
    return f"{SCHEME}{unquote(above.name)}/{place.name}"


def named_capture(text: str) -> tuple[str, str]:
    """(place on this machine, address or "") of a capture as a user names it."""
    if not is_address(text):
        return str(Path(text).expanduser().resolve()), ""
    address = checked_address(text)
    return str(place_of_address(address)), address


def named_twin(text: str, capture: str) -> tuple[str, str]:
    """The same of a twin; an address that ends with a slash gets the capture's name."""
    if not is_address(text):
        return str(Path(text).expanduser().resolve()), ""
    address = checked_address(f"{text}{Path(capture).name}" if text.endswith("/") else text)
    return str(place_of_address(address, "twins")), address


def capture_address(name: str) -> str:
    """Of a capture that a form or a batch names; empty for one of a folder of this machine."""
    return checked_address(name) if is_address(name) else ""


def captures_address() -> str:
    """TWIN_CAPTURES_S3: the folder of the bucket that captures arrive in; empty without it."""
    return _folder(CAPTURES)


def twins_address() -> str:
    """TWIN_TWINS_S3: the folder of the bucket that twins go to; empty without it."""
    return _folder(TWINS)


def twin_name(address: str) -> str:
    """Name of a capture's twin below the folder of all twins: as the capture's below TWIN_CAPTURES_S3, else one that tells it apart."""
    root = captures_address()
    if root and address.startswith(f"{root}/"):
        return address.removeprefix(f"{root}/")
    return f"{address.rpartition('/')[2]}-{hashlib.sha256(address.encode()).hexdigest()[:6]}"


def _folder(setting: str) -> str:
    """Raises ConfigError."""
    text = os.environ.get(setting, "").rstrip("/")
    if text and not (is_address(text) and text.removeprefix(SCHEME)):
        raise ConfigError(f"{setting}={text} names no bucket", "give s3://BUCKET/FOLDER")
    return text
