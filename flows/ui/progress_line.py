"""The terminal's view of a run: one line that lives, and a plain line every ten seconds where there is no terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TextIO

from flows.records.run_record import RunRecord, StageRecord
from flows.run.time_left import TimeLeft, in_words
from flows.run.watcher import Watcher
from flows.ui.colour import bar, painted

REDRAW_EVERY_S = 0.5
PLAIN_LINE_EVERY_S = 10.0
NAME_WIDTH = 9


class ProgressLine(Watcher):
    """Writes to stderr; a thread keeps the clock going while a stage says nothing."""

    def __init__(self, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() if live is None else live
        self._guard, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stage, self._count, self._note = "", (0, 0), ""
        self._started = self._stage_started = self._last_line = time.monotonic()
        self._left = TimeLeft({})

    def run_started(self, record: RunRecord, expected_s: dict[str, float]) -> None:
        with self._guard:
            self._left = TimeLeft(expected_s)
        self._print(f"run {record.id}, profile {record.request['profile']}")
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def stage_started(self, stage: str) -> None:
        with self._guard:
            self._stage, self._count, self._note = stage, (0, 0), ""
            self._stage_started = self._last_line = time.monotonic()
            self._left.started(stage)

    def stage_computing(self, stage: str, why: str) -> None:
        self._print(f"{stage:{NAME_WIDTH}} computing: {why}")

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        with self._guard:
            self._count, self._note = (done, total), note
            self._left.progress(done, total)

    def stage_finished(self, stage: str, record: StageRecord, warnings: list[str]) -> None:
        with self._guard:
            self._left.finished(record.cached)
            self._stage = ""
        how = "from the store" if record.cached else f"done in {in_words(record.seconds)}, {record.peak_memory_mb} MB"
        self._print(f"{stage:{NAME_WIDTH}} {how}", "green")
        for warning in warnings:
            self._print(f"{'':{NAME_WIDTH}} note: {warning}", "yellow")

    def capture_changed(self, message: str) -> None:
        with self._guard:
            self._stage = ""
        self._print(message)

    def run_ended(self, record: RunRecord) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._clear()

    def _tick(self) -> None:
        while not self._stop.wait(REDRAW_EVERY_S):
            with self._guard:
                if not self._stage:
                    continue
                now = time.monotonic()
                if self._live:
                    width = shutil.get_terminal_size().columns - 1
                    line = f"{bar(*self._count)} {self._line(now)}".strip()
                    self._stream.write("\r" + painted(line[:width].ljust(width), "cyan", self._stream))
                    self._stream.flush()
                elif now - self._last_line >= PLAIN_LINE_EVERY_S:
                    self._last_line = now
                    self._stream.write(self._line(now) + "\n")
                    self._stream.flush()

    def _line(self, now: float) -> str:
        done, total = self._count
        count = f"{done}/{total}" if total else ""
        return (
            f"{self._stage:{NAME_WIDTH}} {count:>9}  {in_words(now - self._stage_started):>9}  "
            f"run: {in_words(now - self._started)}, about {in_words(self._left.seconds())} left  {self._note}"
        )

    def _print(self, line: str, style: str = "") -> None:
        with self._guard:
            self._clear()
            self._stream.write(painted(line, style, self._stream) + "\n")
            self._stream.flush()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            self._stream.flush()
