"""The words for an address in a bucket at which nothing lies."""

from __future__ import annotations

import difflib

from stages.core.bucket import SCHEME, Bucket
from stages.core.errors import CaptureError

MOST_NAMED = 5


def no_such_folder(address: str) -> CaptureError:
    """Names what lies beside it. Raises RemoteTrouble."""
    above, _, name = address.rpartition("/")
    names = Bucket(above).folders() if above.removeprefix(SCHEME) else []
    near = difflib.get_close_matches(name, names, MOST_NAMED) or sorted(names)[:MOST_NAMED]
    there = (
        f"there are {', '.join(near)}{' and more' if len(names) > len(near) else ''}"
        if near
        else f"{above} holds no folder"
    )
    return CaptureError(f"there is nothing at {address}", f"check the name: {there}")
