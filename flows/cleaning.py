"""What may be removed from the store, and how much it holds. Never what a live run holds: its locks tell."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.run_record import RunRecords
from stages.core.store import Store

PARTS = ("artifacts", "corrupt", "tmp", "runs", "prefect", "digests")
DAY_S = 86400.0


@dataclass
class Leftovers:
    """What went."""

    folders: int = 0
    records: int = 0
    bytes: int = 0
    held: int = 0
    """results that were due but belong to a run under way"""


def usage(store: Store) -> dict[str, int]:
    """Bytes by part of the store."""
    return {part: size_of(store.root / part) for part in PARTS}


def size_of(folder: Path) -> int:
    """Bytes of all files below; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def clean_up(store: Store, older_than_days: float | None = None, only_corrupt: bool = False, dry_run: bool = False) -> Leftovers:
    """Remove damaged results, dead work folders and idle Prefect slots; with `older_than_days` also results and records of that age."""
    removed = Leftovers()
    victims = list((store.root / "corrupt").glob("*"))
    if not only_corrupt:
        victims += _dead_work(store)
        if older_than_days is not None:
            limit = time.time() - older_than_days * DAY_S
            victims += _old_results(store, limit, removed)
            victims += _idle_slots(store.root / "prefect", limit)
            _forget_runs(store, limit, removed, dry_run)
    for folder in victims:
        removed.folders += 1
        removed.bytes += size_of(folder)
        if not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
    return removed


def _dead_work(store: Store) -> list[Path]:
    return [p for p in (store.root / "tmp").glob("*") if not store.is_locked(p.name.rsplit(".", 1)[0])]


def _old_results(store: Store, limit: float, removed: Leftovers) -> Iterator[Path]:
    held = {s.fingerprint for r in RunRecords(store).all() if r.state == "running" for s in r.stages.values()}
    for _, fingerprint, folder in store.results():
        if folder.stat().st_mtime < limit:
            if fingerprint in held or store.is_locked(fingerprint):
                removed.held += 1
            else:
                yield folder


def _idle_slots(root: Path, limit: float) -> Iterator[Path]:
    for slot in root.glob("*"):
        lock = slot / "slot.lock"
        if not lock.exists() or lock.stat().st_mtime > limit:
            continue
        with lock.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield slot


def _forget_runs(store: Store, limit: float, removed: Leftovers, dry_run: bool) -> None:
    records = RunRecords(store)
    for record in records.all():
        if record.started < limit and record.state != "running":
            removed.records += 1
            if not dry_run:
                records.remove(record)
