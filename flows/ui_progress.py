"""What the Prefect UI shows while a run goes on: a log line every ten seconds, a progress artifact, the scores of an evaluation."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact

from flows.places import twins_root
from flows.progress_line import ProgressLine
from flows.run_record import RunRecord, StageRecord

ARTIFACT_EVERY_S = 5.0
"""the UI shows a new value only on reload, so more often would be for nobody"""


class _LogStream(io.TextIOBase):
    """Lines of the progress line as lines of the flow run's log."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter) -> None:
        self._logger = logger

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._logger.info("%s", line.rstrip())
        return len(text)


class UiProgress(ProgressLine):
    """The terminal's progress line, written to the flow run's log, with a progress artifact for the whole run."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter) -> None:
        super().__init__(_LogStream(logger), live=False)
        self._artifact: UUID | None = None
        self._weights: dict[str, float] = {}
        self._finished = 0.0
        self._next_update = 0.0

    def run_started(self, record: RunRecord, expected_s: dict[str, float]) -> None:
        total = sum(expected_s.values()) or 1.0
        self._weights = {stage: s / total for stage, s in expected_s.items()}
        self._artifact = create_progress_artifact(0.0, key="run-progress", description=f"run {record.id}")
        super().run_started(record, expected_s)

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        super().progress(stage, done, total, note)
        if total > 0 and time.monotonic() >= self._next_update:
            self._next_update = time.monotonic() + ARTIFACT_EVERY_S
            self._update(self._finished + self._weights.get(stage, 0.0) * min(done / total, 1.0))

    def stage_finished(self, stage: str, record: StageRecord, warnings: list[str]) -> None:
        super().stage_finished(stage, record, warnings)
        self._finished += self._weights.get(stage, 0.0)
        self._update(self._finished)

    def run_ended(self, record: RunRecord) -> None:
        super().run_ended(record)
        if record.state == "done" and not record.request["until"]:
            show_twin(record, os.environ.get("TWIN_FILES_URL"))
        elif record.state == "failed":
            show_failure(record)

    def _update(self, share: float) -> None:
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=round(100 * min(share, 1.0), 1))


def show_failure(record: RunRecord) -> None:
    """The reason of a failed run and what to do, as an artifact of its own."""
    text = (f"# {record.state}\n\n{record.error}\n\n**What to do:** {record.advice or 'see the log'}\n\n"
            "Then press *Retry*: finished stages are kept.")
    create_markdown_artifact(text, key="failure", description="why the run failed and what to do")


def show_twin(record: RunRecord, address: str | None) -> None:
    """Where the twin is; a link to its report where files are served."""
    out = Path(record.request["out"])
    served = address and out.is_relative_to(twins_root())
    link = f"[report.html]({address}/{out.relative_to(twins_root()).as_posix()}/report.html)" if served else f"`{out / 'report.html'}`"
    name = out.name
    create_markdown_artifact(f"# {name}\n\nTwin folder: `{record.request['out']}`\n\nReport: {link}", key="twin",
                             description="the finished twin")


def show_scores(scores: Mapping[str, Any]) -> None:
    """Scores of an evaluation as a table."""
    create_table_artifact([{"figure": k, "value": v} for k, v in _flat(scores)], key="evaluation",
                          description="scores against the known truth")


def _flat(scores: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for k, v in scores.items():
        out += _flat(v, f"{prefix}{k}.") if isinstance(v, Mapping) else [(prefix + k, v)]
    return out
