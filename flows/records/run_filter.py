"""Which of thousands of runs are shown: by state, capture, age, and the stage in which they failed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.records.run_record import RunRecord

DAY_S = 86400.0


@dataclass(frozen=True)
class RunFilter:
    """What is left empty does not matter."""

    states: tuple[str, ...] = ()
    capture: str = ""
    """in the path of the capture, whatever its case"""
    days: float | None = None
    """begun within so many days"""
    failed_in: str = ""
    """a stage"""
    profile: str = ""

    def __call__(self, records: Iterable[RunRecord]) -> list[RunRecord]:
        """Those that fit, in the order given."""
        since = time.time() - self.days * DAY_S if self.days is not None else 0.0
        return [r for r in records if r.started >= since and self._fits(r)]

    def _fits(self, r: RunRecord) -> bool:
        if self.states and r.state not in self.states:
            return False
        if self.capture.lower() not in str(Path(r.request["capture"])).lower() or (
            self.profile and r.request["profile"] != self.profile
        ):
            return False
        return not self.failed_in or (
            self.failed_in in r.stages and r.stages[self.failed_in].state in ("failed", "died")
        )

    @property
    def narrows(self) -> bool:
        """Whether anything is asked for."""
        return self != RunFilter()


def asked_for(args: argparse.Namespace) -> RunFilter:
    """What the options mean."""
    return RunFilter(tuple(args.state), args.capture, args.days, args.failed_in, profile=args.profile)
