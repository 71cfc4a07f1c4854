"""<store>/metrics.prom: the figures of metrics.py in a file, for a node exporter's textfile collector. Over HTTP: web/twin_files.py."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress

from flows.records.run_record import RunRecord, RunRecords
from flows.run.metrics import of_captures, of_records, text_of
from stages.core.store import Store

MANY = 300
WITH_MANY_EVERY_S = 300.0
log = logging.getLogger(__name__)
FILE = "metrics.prom"


def write_metrics_after_run(store: Store, records: RunRecords) -> None:
    """The same for a run that ends. Thousands of records take seconds to read: with more than MANY, at most once in five minutes."""
    path = store.root / FILE
    with suppress(OSError):
        if sum(1 for _ in os.scandir(records.folder)) > MANY and time.time() - path.stat().st_mtime < WITH_MANY_EVERY_S:
            return
    write_metrics(store, records.all())


def write_metrics(store: Store, records: Sequence[RunRecord]) -> None:
    """Replace the file atomically. That it cannot be written is logged: no run fails for it."""
    path = store.root / FILE
    partial = path.with_name(f"{FILE}.{os.getpid()}.partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text_of([*of_records(store, records), *of_captures(records)]))
        partial.replace(path)
    except OSError as e:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        log.warning("cannot write %s: %s", path, e.strerror)
