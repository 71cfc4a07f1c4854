"""How long twins are kept: of those that are older all goes but their record, by which a capture still counts as done and is not made anew.

Age counts from when run.json was written. Only the folder in which a deployment's twins lie by themselves (TWIN_TWINS) is looked through.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from flows.records.places import twin_lock, twins_root
from flows.records.twin_record import read_twin
from flows.upkeep.cleaning import DAY_S, KEPT_EVERY_S, Leftovers, size_of
from stages.core.errors import ConfigError
from stages.core.store import Store
from stages.core.twin_folder import OWN_FILES, OWN_FOLDERS

KEEP_TWINS = "TWIN_KEEP_TWINS_DAYS"
RECORD = "run.json"
NOTE = "removed.txt"
KEPT = (RECORD, NOTE)


def retire_twins(store: Store, days: float, dry_run: bool = False) -> Leftovers:
    """Remove the files of twins made more than `days` ago. Raises ConfigError for a number of days that makes no sense."""
    if not _is_age(days):
        raise ConfigError(f"twins cannot be kept for {days:g} days", "give a number above 0, for example 90")
    removed, limit = Leftovers(), time.time() - days * DAY_S
    for folder in _older_than(limit):
        with store.lock_where_possible(twin_lock(folder)):  # or a twin that is put there now would lose files
            if not _is_older(folder, limit):
                continue
            removed.folders += 1
            removed.bytes += sum(size_of(p) if p.is_dir() else p.lstat().st_size for p in _going(folder))
            if not dry_run:
                _retire(store, folder, days)
    return removed


class TwinKeeper:
    """Retires the twins of an installation while it runs; call `look` as often as you like."""

    def __init__(self, store: Store, days: float | None) -> None:
        self._store, self._days, self._next = store, days, 0.0

    @classmethod
    def from_environment(cls, store: Store) -> Self:
        """TWIN_KEEP_TWINS_DAYS; without it twins are kept for ever. Raises ConfigError if it is no number of days."""
        text = os.environ.get(KEEP_TWINS, "")
        try:
            days = float(text) if text else None
        except ValueError:
            days = math.nan
        if days is not None and not _is_age(days):  # refused here and not ten minutes later
            raise ConfigError(
                f"{KEEP_TWINS}={text} is no number of days above 0", "give days, for example 90, or nothing"
            )
        return cls(store, days)

    def look(self) -> Leftovers | None:
        """What was removed, now and then; None in between."""
        if self._days is None or time.monotonic() < self._next:
            return None
        removed = retire_twins(self._store, self._days)
        self._next = time.monotonic() + KEPT_EVERY_S
        return removed


def _is_age(days: float) -> bool:
    return math.isfinite(days) and days > 0


def _older_than(limit: float) -> Iterator[Path]:
    root = twins_root()
    for place, folders, files in os.walk(root):
        if RECORD in files:
            folders.clear()  # a twin; its own folders are no twins
            if _is_older(folder := Path(place), limit):
                yield folder


def _is_older(folder: Path, limit: float) -> bool:
    """And there is something left of it. Whoever put a file of that name there that is no twin's record keeps it."""
    try:
        old = (folder / RECORD).stat().st_mtime < limit
    except OSError:
        return False
    return old and bool(_going(folder)) and (twin := read_twin(folder)) is not None and bool(twin.run)


def _going(folder: Path) -> list[Path]:
    """What a twin is made of. What a user put beside it is his."""
    return [p for p in folder.iterdir() if p.name in (*OWN_FILES, *OWN_FOLDERS) and p.name not in KEPT]


def _retire(store: Store, folder: Path, days: float) -> None:
    """The note first: who finds half a twin finds out why."""
    when = time.strftime("%Y-%m-%d")
    store.disk.replace(
        folder / NOTE,
        f"Removed {when}: twins are kept for {days:g} days. To make it anew: touch READY of its capture, or "
        "start a run of it; what the store still has is not computed again.\n".encode(),
    )
    for path in _going(folder):
        store.disk.remove(path)
