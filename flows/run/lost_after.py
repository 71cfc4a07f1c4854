"""After what silence a machine counts as gone: of runs (recovery.py) and of results that a bucket's machines share (bucket_turn.py)."""

from __future__ import annotations

import os

from flows.run.lease import BEAT_S
from stages.core.errors import ConfigError

LOST_AFTER_S = 60.0
"""twelve beats"""
FEWEST_BEATS = 3


def lost_after_s() -> float:
    """TWIN_LOST_AFTER_S, else a minute. Raises ConfigError if it is no number or less than three beats."""
    text = os.environ.get("TWIN_LOST_AFTER_S") or str(LOST_AFTER_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    least = FEWEST_BEATS * BEAT_S
    if not seconds >= least:
        raise ConfigError(
            f"TWIN_LOST_AFTER_S={text}", f"give seconds, at least {least:.0f}: a run beats every {BEAT_S:.0f} s"
        )
    return seconds
