"""What the Prefect UI shows while a run goes on: a log line every ten seconds, a progress artifact, the scores of an evaluation."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.records.places import twins_root
from flows.records.run_record import RunRecord, StageRecord
from flows.records.twin_record import read_twin
from flows.records.twin_verdict import verdict_of
from flows.run.time_left import in_words
from flows.ui.artifacts import figure_table, picture
from flows.ui.batch_page import figures
from flows.ui.progress_line import ProgressLine
from stages.core.look import Look

ARTIFACT_EVERY_S = 5.0
"""the UI shows a new value only on reload, so more often would be for nobody"""
MOST_WARNINGS = 20
LOG = "run.log"
"""copied beside the twin when all else is done"""
LINKS = {"report.html": "report", "twin.glb": "twin.glb", "twin.usdz": "twin.usdz", LOG: "log"}
"""files of the twin folder that a browser opens or downloads"""


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
    """A line every ten seconds in the flow run's log, and a progress artifact for the whole run. What begins and ends, run/run.py logs."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter) -> None:
        super().__init__(_LogStream(logger), live=False)
        self._logger = logger
        self._artifact: UUID | None = None
        self._weights: dict[str, float] = {}
        self._finished = 0.0
        self._next_update = 0.0

    def run_refused(self, message: str, advice: str) -> None:
        self._logger.error("%s\nWhat to do: %s", message, advice)
        show_failure(message, advice)

    def run_started(self, record: RunRecord, expected_s: dict[str, float]) -> None:
        total = sum(expected_s.values()) or 1.0
        self._weights = {stage: s / total for stage, s in expected_s.items()}
        self._artifact = create_progress_artifact(0.0, key="run-progress", description=f"run {record.id}")
        super().run_started(record, expected_s)

    def capture_looked_at(self, found: Look) -> None:
        create_markdown_artifact(
            found.markdown(), key="capture", description=f"how the capture was understood: {found.closing()}"[:200]
        )

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
            self._logger.info("twin: %s", show_twin(record, os.environ.get("TWIN_FILES_URL")))
        elif record.state == "failed":
            stage = next((name for name, s in record.stages.items() if s.state == "failed"), "")
            show_failure(
                record.error,
                record.advice or f"this is a fault of the program: report it with the log, {record.log}",
                stage,
            )

    def _update(self, share: float) -> None:
        if self._artifact is not None:
            update_progress_artifact(self._artifact, progress=round(100 * min(share, 1.0), 1))

    def _print(self, line: str, style: str = "") -> None:
        """Not here: the log has it from run/run.py, which the file beside the twin needs too."""

    def _line(self, now: float) -> str:
        """Without columns, which the UI's log would not keep."""
        done, total = self._count
        count = f"{done} of {total} in " if total else ""
        note = f"; {self._note}" if self._note else ""
        return (
            f"{self._stage}: {count}{in_words(now - self._stage_started)}; run: {in_words(now - self._started)}, "
            f"about {in_words(self._left.seconds())} left{note}"
        )


def show_failure(message: str, advice: str, stage: str = "") -> None:
    """The reason of a failed run and what to do, as an artifact of its own."""
    text = (
        f"# Failed{f' in {stage}' if stage else ''}\n\n{message}\n\n**What to do:** {advice}\n\n"
        "Then press *Retry* in the menu of the run: finished stages are kept. If a value in the form was wrong, *Copy to new run* "
        "there opens the form again."
    )
    create_markdown_artifact(text, key="failure", description=f"why the run failed and what to do: {message}"[:200])


def show_twin(record: RunRecord, address: str | None) -> str:
    """An artifact with the twin's look, its figures, and links to its files where they are served. Returns where its report is."""
    out = Path(record.request["out"])
    served = bool(address) and out.is_relative_to(twins_root())
    base = f"{address}/{quote(out.relative_to(twins_root()).as_posix())}" if served else ""
    links = (
        ", ".join(f"[{what}]({base}/{file})" for file, what in LINKS.items() if (out / file).is_file() or file == LOG)
        if served
        else ""
    )
    turntable = out / "previews" / "turntable.jpg"
    verdict = verdict_of(out)
    parts = [
        f"# {out.name}",
        f"**{verdict['line']}**" if verdict else "",
        _warnings(out),
        links,
        picture(turntable, "A full turn") if turntable.is_file() else "",
        figure_table(figures(str(out))),
        f"Folder: `{out}`",
    ]
    description = verdict["line"][:400] if verdict else f"the finished twin: {out}"
    create_markdown_artifact("\n\n".join(filter(None, parts)), key="twin", description=description)
    return f"{base}/report.html" if served else str(out / "report.html")


def _warnings(out: Path) -> str:
    """What the stages had to say against their results, each with its stage; empty for nothing."""
    twin = read_twin(out)
    found = [f"- {name}: {text}" for name, s in (twin.stages if twin else {}).items() for text in s.warnings]
    more = [f"- and {len(found) - MOST_WARNINGS} more, in the report"] if len(found) > MOST_WARNINGS else []
    return "\n".join(["**Warnings**", "", *found[:MOST_WARNINGS], *more]) if found else ""


def show_scores(scores: Mapping[str, Any]) -> None:
    """Scores of an evaluation as a table."""
    create_table_artifact(
        [{"figure": k, "value": v} for k, v in _flat(scores)],
        key="evaluation",
        description="scores against the known truth",
    )


def _flat(scores: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for k, v in scores.items():
        out += _flat(v, f"{prefix}{k}.") if isinstance(v, Mapping) else [(prefix + k, v)]
    return out
