"""What arrives in the bucket of TWIN_CAPTURES_S3, for the watcher. A folder there is a capture once it holds an object READY, and complete
once nothing below it has changed for TWIN_SETTLE_S: programs that copy several files at a time do not keep to an order.

The bucket is looked through in a thread, because a long listing must not keep the watcher from its other work, and at most one twentieth of
the time: a listing that takes ten seconds is asked for every 200 s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.captures.ready import ReadyCapture
from flows.captures.ready_there import arrived_there, left_to_do, wish_there
from flows.captures.settling import settle_s
from flows.records.run_record import RunRecords
from flows.records.s3_addresses import captures_address
from stages.core.errors import ConfigError, TwinError
from stages.core.store import Store

LOOK_EVERY_S, LOOK_AGAIN_S = 15.0, 1.0
"""sooner while something arrives"""
SHARE = 20.0


@dataclass(frozen=True)
class DueThere:
    """A capture of the bucket that is to begin, and with which profile."""

    capture: ReadyCapture
    profile: str


class BucketArrivals:
    """Call `look` every few seconds; it never waits."""

    def __init__(self, store: Store, profile: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`profile`: of captures whose twin.yaml, and whose deployment, names none."""
        self._records, self._profile, self._clock = RunRecords(store), profile, clock
        self._seen: set[str] = set()
        self._arriving: dict[str, tuple[int, float]] = {}
        """listing of each that is new, and since when it has been so"""
        self._found: tuple[list[DueThere], list[str]] | None = None
        self._looking: threading.Thread | None = None
        self._next = 0.0

    def look(self) -> tuple[list[DueThere], list[str]]:
        """What became due since the last call, and lines on what is not taken."""
        try:
            root = captures_address()
        except ConfigError as e:
            return [], [str(e)]
        if self._looking is not None and not self._looking.is_alive():
            self._looking = None
        if self._looking is None and self._found is not None:
            found, self._found = self._found, None
            return found
        if root and self._looking is None and self._clock() >= self._next:
            self._looking = threading.Thread(target=self._look_through, args=(root,), name="bucket", daemon=True)
            self._looking.start()
        return [], []

    def _look_through(self, root: str) -> None:
        began = self._clock()
        try:
            self._found = self.find(root)
        except TwinError as e:  # asked again; what is wrong is told
            self._found = [], [str(e)]
        took = self._clock() - began
        pause = max(LOOK_AGAIN_S, settle_s() / 4) if self._arriving else LOOK_EVERY_S
        self._next = self._clock() + max(pause, SHARE * took)

    def find(self, root: str) -> tuple[list[DueThere], list[str]]:
        """One look through the bucket. Raises CaptureError, ConfigError, StoreError."""
        captures, notes = arrived_there(root)
        lines = [f"not taken: {note}" for note in notes]
        settled = self._settled([c for c in captures if c.key not in self._seen])
        by_profile: dict[str, list[ReadyCapture]] = {}
        for capture in settled:
            try:
                wish = wish_there(capture)
            except ConfigError as e:
                lines.append(f"not taken: {e}")
                continue
            if wish.when == "arrival":
                by_profile.setdefault(wish.profile or self._profile, []).append(capture)
        due = [DueThere(c, p) for p, some in by_profile.items() for c in left_to_do(some, p, (), self._records)]
        for capture in settled:  # not before all of it could be asked
            self._seen.add(capture.key)
            self._arriving.pop(capture.key, None)
        return due, lines

    def _settled(self, new: Sequence[ReadyCapture]) -> list[ReadyCapture]:
        """Those that have been as they are for long enough."""
        now, needed = self._clock(), settle_s()
        former, self._arriving = self._arriving, {}
        for c in new:
            listing, since = former.get(c.key, (c.listing, now))
            self._arriving[c.key] = c.listing, since if listing == c.listing else now
        return [c for c in new if now - self._arriving[c.key][1] >= needed]
