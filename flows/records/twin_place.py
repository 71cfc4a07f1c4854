"""Whether a finished twin may be replaced: one of a better profile is not, by a lesser one of the same capture.

A night of previews must not cost the standard twins of the days before. The lesser twin is put beside the better one; a better one
takes the place of a lesser one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.records.places import twin_folder
from flows.records.saved import Unreadable, read_object

log = logging.getLogger(__name__)
PROFILES = ("preview", "standard", "quality")
"""worst first"""


def is_better(profile: str, other: str) -> bool:
    """Whether a twin of `profile` refines one of `other`. Profiles of a later version compare with none."""
    return profile in PROFILES and other in PROFILES and PROFILES.index(profile) > PROFILES.index(other)


def place_of(out: Path, capture: Path, profile: str, source: str) -> Path:
    """`out`, or the folder beside it if `out` is where twins of this capture go by themselves and holds a better one of it.

    `source` is the digest of the capture: a twin of the same folder with other pictures is replaced whatever its profile. A folder that
    the user named himself is his to replace.
    """
    if out != twin_folder(capture):
        return out
    there = read_run(out)
    if there.get("source") != source or not is_better(str(there.get("profile")), profile):
        return out
    beside = out.with_name(f"{out.name}.{profile}")
    log.warning(
        "%s holds a twin of the profile %s, which is kept: the one of %s is in %s",
        out,
        there["profile"],
        profile,
        beside,
    )
    return beside


def read_run(twin: Path) -> Mapping[str, Any]:
    """run.json of a twin; empty if there is none or it is damaged."""
    try:
        return read_object(twin / "run.json")
    except (FileNotFoundError, Unreadable):
        return {}
