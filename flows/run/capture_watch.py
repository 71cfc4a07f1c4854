"""Notices what changes in a capture while a run works on it: a copy that went on after a pause, or a picture that was replaced."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from flows.captures.listing import Listing, difference, digest_of, listing_of, marker_time
from flows.captures.settling import Settling

log = logging.getLogger(__name__)
MOST_ROUNDS = 5
"""a folder that somebody goes on writing into is not worked on for ever"""
LONGEST_WAIT_S = 1800.0
LOOK_EVERY_S = 0.5
RECENT_S = 60.0


class CaptureWatch:
    """One run's view of its capture."""

    def __init__(self, capture: Path) -> None:
        self._capture, self._rounds = capture, 0
        self._before: Listing = {}
        self.marker = 0

    def begin(self) -> str:
        """Remember what is there, before it is read; returns its digest."""
        self._rounds += 1
        self.marker, self._before = marker_time(self._capture), listing_of(self._capture)
        return digest_of(self._before)

    def change(self) -> str:
        """What changed since, in words; empty if nothing did."""
        return difference(self._before, listing_of(self._capture))

    def let_it_arrive(self) -> None:
        """After a failure over the capture: one that carries a marker and changed a moment ago may still be arriving, however quiet it was
        when it failed."""
        newest = max((changed for *_, changed in listing_of(self._capture).values()), default=0)
        if self.marker and time.time() - max(newest, self.marker) / 1e9 < RECENT_S:
            self.wait()

    @property
    def may_begin_again(self) -> bool:
        """Whether there is a round left."""
        return self._rounds < MOST_ROUNDS

    def wait(self) -> None:
        """Until the capture has settled, or half an hour."""
        settling, deadline = Settling(), time.monotonic() + LONGEST_WAIT_S
        while not settling.settled(self._capture) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
