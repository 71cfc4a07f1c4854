"""A look at two sessions before they are merged."""

from __future__ import annotations

from pathlib import Path

from stages.core.errors import CaptureError
from stages.core.look import Look
from stages.core.merged_capture import session_names


def look_at(capture: Path) -> Look:
    """Their names; what they hold was looked at when each was made."""
    out = Look(str(capture))
    try:
        out.sections.append(("sessions", list(session_names(capture))))
    except CaptureError as e:
        out.refused = (e.message, e.advice)
    return out
