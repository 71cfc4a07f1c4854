"""Who hears how a run gets on: the terminal's progress line, the Prefect log, tests."""

from __future__ import annotations

from flows.records.run_record import RunRecord, StageRecord
from stages.core.look import Look


class Watcher:
    """Hears of a run and does nothing about it; others override what they need."""

    def run_refused(self, message: str, advice: str) -> None:
        """It cannot begin: a wrong setting, or weights that are not there."""

    def run_started(self, record: RunRecord, expected_s: dict[str, float]) -> None:
        """`expected_s`: seconds per stage that have to be reckoned with."""

    def capture_looked_at(self, found: Look) -> None:
        """What its capture holds and how it is understood, before the first stage."""

    def stage_started(self, stage: str) -> None:
        """The store is being asked."""

    def stage_computing(self, stage: str, why: str) -> None:
        """The store has no result, for this reason: a child is started."""

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        """A few times a second at the most."""

    def stage_finished(self, stage: str, record: StageRecord, warnings: list[str]) -> None:
        """The result is in the store."""

    def capture_changed(self, message: str) -> None:
        """Its capture is no longer as it was read, so the run begins again; or how far it, or the twin, is on its way."""

    def run_ended(self, record: RunRecord) -> None:
        """Done, failed or interrupted; the record tells."""
