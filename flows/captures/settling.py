"""Whether a capture has arrived, or is still being copied: a copy in alphabetical order brings READY before calibration, left/ and right/.

A folder has settled when nothing in it has changed for a while: no name, no size, no time. How long grows with how it came: TWIN_SETTLE_S
where the marker is the newest file, as it should be, and where others came after it, four times the longest pause between two of them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from flows.captures.markers import MARKER
from stages.core.capture import capture_files
from stages.core.errors import CaptureError, ConfigError

SETTLE_S = 5.0
LATE_FACTOR, LATEST_FACTOR = 2, 60
"""times the setting, if files came after the marker: at least, and at most"""
INCOMPLETE_FACTOR = 12
"""while the calibration or a view is missing"""
PAUSES = 4
SAME_MOMENT_NS = 1_000_000_000
"""files that came within this much of the marker are as old as it: some filesystems count whole seconds"""


def settle_s() -> float:
    """TWIN_SETTLE_S, else five seconds; 0 believes the marker. Raises ConfigError if it is no number of seconds."""
    text = os.environ.get("TWIN_SETTLE_S") or str(SETTLE_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise ConfigError(
            f"TWIN_SETTLE_S={text}",
            "give seconds, from 0 to 3600: so long a capture must not change before it is taken",
        )
    return seconds


@dataclass(frozen=True)
class _State:
    """A folder at one moment."""

    signature: int
    newest_ns: int
    """by the clock of whoever keeps the files"""
    late: bool
    """something came after the marker"""
    pause_s: float
    """longest time between two changes"""


class Settling:
    """Ask again every second or so. Counted by this process's own clock, so that those of cameras and file servers do not matter."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._settle_s = clock, settle_s()
        self._seen: dict[Path, tuple[int, float]] = {}

    def settled(self, folder: Path) -> bool:
        """Whether it has been as it is for long enough. One that is gone has settled: whoever takes it says so."""
        if self._settle_s == 0:
            return True
        try:
            state, now = _state_of(folder), self._clock()
        except OSError:
            return not folder.exists()
        signature, since = self._seen.get(folder, (None, now))
        if signature != state.signature:
            since = now
        self._seen[folder] = state.signature, since
        return self._long_enough(folder, state, now - since)

    def forget(self, folder: Path) -> None:
        """It was taken, or is gone."""
        self._seen.pop(folder, None)

    def _long_enough(self, folder: Path, state: _State, still_s: float) -> bool:
        if still_s < self._settle_s:
            return False
        needed = _needed_s(folder, state, self._settle_s)
        # what came long ago need not be watched for minutes; a clock that lags behind costs no more than that caution
        return max(still_s, time.time() - state.newest_ns / 1e9) >= needed


def _needed_s(folder: Path, state: _State, settle: float) -> float:
    needed = settle
    if state.late:
        needed = min(max(LATE_FACTOR * settle, PAUSES * state.pause_s), LATEST_FACTOR * settle)
    try:
        capture_files(folder)
    except CaptureError:
        needed = max(needed, INCOMPLETE_FACTOR * settle)
    return needed


def _state_of(folder: Path) -> _State:
    files, marker, times = [], 0, []
    for name, about in _walk(folder):
        files.append((name, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
        times.append(about.st_ctime_ns)  # when it came here; a copy may keep the time of the original as mtime
        if name == str(folder / MARKER):
            marker = about.st_ctime_ns
    times.sort()
    pause = max((b - a for a, b in pairwise(times)), default=0) / 1e9
    newest = times[-1] if times else 0
    return _State(hash(tuple(sorted(files))), newest, newest - marker > SAME_MOMENT_NS, pause)


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files below, hidden ones too: some programs copy under another name first."""
    left = [os.fspath(folder)]
    while left:
        with os.scandir(left.pop()) as entries:
            for e in entries:
                try:
                    if e.is_dir(follow_symlinks=False):
                        left.append(e.path)
                    else:
                        yield e.path, e.stat()
                except FileNotFoundError:
                    continue
