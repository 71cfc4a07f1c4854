"""Captures that failed three nights in a row for the same reason: they are tried no more until somebody looks.

It is read from the records of the runs, so nothing has to be written or taken back: a run that ends otherwise (after Retry, `twin resume`
or a change of settings), or a new READY, makes the capture due again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from flows.captures.ready import ReadyCapture, was_begun
from flows.records.run_record import RunRecord

NIGHTS = 3
NOON_S = 12 * 3600.0
"""a night goes from noon to noon, so that a batch that begins at eleven and ends at three has one"""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ENDS_BADLY = ("failed", "died")


def why_set_aside(capture: ReadyCapture, runs: Iterable[RunRecord]) -> str:
    """The note; empty if the capture is not set aside. `runs`: those of this capture, newest first."""
    nights: set[str] = set()
    reason, newest = "", None
    for run in (r for r in runs if r.state != "running" and was_begun(capture, r)):
        if run.state == "interrupted":  # by a person or a machine: no word on the capture
            continue
        if run.state not in _ENDS_BADLY or (newest is not None and _kind(run) != reason):
            break
        newest = newest or run
        reason = _kind(newest)
        nights.add(night_of(run.started))
        if len(nights) == NIGHTS:
            return (
                f"failed {NIGHTS} nights in a row for the same reason: {newest.error or 'its process died'} "
                f"Mend it, then press Retry, `twin resume {newest.id}`, or touch READY."
            )
    return ""


def night_of(seconds: float) -> str:
    """The date on whose evening it began, local time."""
    return time.strftime("%Y-%m-%d", time.localtime(seconds - NOON_S))


def _kind(run: RunRecord) -> str:
    """Stage and reason without the figures in it, which differ from night to night."""
    stage = next((name for name, s in run.stages.items() if s.state in _ENDS_BADLY), "")
    return f"{stage}: {_NUMBER.sub('#', run.error)}"
