"""What may be removed from the store, and how much it holds. Never what a live run holds: its locks tell."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from flows.records.run_record import RunRecords
from flows.run.lease import forget_leases
from flows.upkeep.result_use import Result, results_by_use
from stages.core.errors import ConfigError
from stages.core.file_locks import try_flock
from stages.core.store import Store

PARTS = ("artifacts", "corrupt", "tmp", "runs", "prefect", "digests", "nvidia", "staged")
DAY_S = 86400.0
KEPT_EVERY_S = 600.0


@dataclass
class Leftovers:
    """What went."""

    folders: int = 0
    records: int = 0
    bytes: int = 0
    held: int = 0
    """results that were due but belong to a run under way"""
    unreadable: list[str] = field(default_factory=list)
    """records that are damaged or of a newer version, and why; they go when their files are too old"""


def usage(store: Store) -> dict[str, int]:
    """Bytes by part of the store."""
    return {part: size_of(store.root / part) for part in PARTS}


def size_of(folder: Path) -> int:
    """Bytes of all files below; what vanishes meanwhile counts nothing. A store holds millions of files: no Path for each."""
    total, left = 0, [os.fspath(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for e in entries:
                    if e.is_dir(follow_symlinks=False):
                        left.append(e.path)
                    else:
                        with suppress(FileNotFoundError):
                            total += e.stat(follow_symlinks=False).st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
    return total


@dataclass(frozen=True)
class Wish:
    """What should go beside leftovers and damaged results, which always go."""

    older_than_days: float | None = None
    """results not used, and records of runs started, for so long; idle Prefect slots too"""
    keep_gb: float | None = None
    """results that were not used for longest, until all results together are no larger"""
    intermediate: bool = False
    """every result but the twins themselves"""
    twins_too: bool = False
    """`keep_gb` may also take the twins' own results; the twin folders are copies and stay whatever happens"""
    only_corrupt: bool = False
    """nothing but damaged results"""

    def __post_init__(self) -> None:
        """Raises ConfigError: a negative age would take everything, a negative size too."""
        for name, value, unit in (
            ("--older-than", self.older_than_days, "days"),
            ("--keep-gb", self.keep_gb, "gigabytes"),
        ):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(
                    f"{name} {value:g} makes no sense: expected {unit}, 0 or more",
                    f"give a number, for example {name} 30",
                )


def clean_up(store: Store, wish: Wish = Wish(), dry_run: bool = False) -> Leftovers:
    """Remove damaged results, dead work folders, and what `wish` says. Results that a run under way holds are kept and counted."""
    removed = Leftovers(unreadable=[str(u) for u in RunRecords(store).survey()[1]])
    victims = list((store.root / "corrupt").glob("*"))
    if wish.keep_gb is None:  # this looks at every manifest: not every ten minutes for `twin serve --keep-gb`
        victims += store.untrusted()
    if not wish.only_corrupt:
        victims += _dead_work(store)
        victims += _unwanted_results(store, wish, removed)
        if not dry_run:
            store.forget_locks(DAY_S)
        if wish.older_than_days is not None:
            limit = time.time() - wish.older_than_days * DAY_S
            victims += _idle_slots(store.root / "prefect", limit)
            victims += [
                p for p in (store.root / "nvidia").glob("*") if _written(p) < limit
            ]  # captures of runs that failed
            _forget_runs(store, limit, removed, dry_run)
            if not dry_run:
                forget_leases(store, limit)
                _forget_prefect_results(store, limit)
    for folder in dict.fromkeys(victims):
        removed.folders += 1
        removed.bytes += size_of(folder)
        if not dry_run:
            _remove(store, folder)
    return removed


class Keeper:
    """Keeps the results of a store below a size while an installation runs; call `look` as often as you like."""

    def __init__(self, store: Store, keep_gb: float | None) -> None:
        self._store, self._keep_gb, self._next = store, keep_gb, 0.0

    @classmethod
    def from_environment(cls, store: Store) -> Self:
        """TWIN_KEEP_GB; without it nothing is cleaned. Raises ConfigError if it is no number."""
        text = os.environ.get("TWIN_KEEP_GB", "")
        try:
            keep_gb = float(text) if text else None
        except ValueError as e:
            raise ConfigError(f"TWIN_KEEP_GB={text} is not a number", "give gigabytes, for example 200") from e
        Wish(keep_gb=keep_gb)  # refused here and not ten minutes later
        return cls(store, keep_gb)

    def look(self) -> Leftovers | None:
        """What was removed, now and then; None in between."""
        if self._keep_gb is None or time.monotonic() < self._next:
            return None
        removed = clean_up(self._store, Wish(keep_gb=self._keep_gb))
        self._next = time.monotonic() + KEPT_EVERY_S
        return removed


def _dead_work(store: Store) -> list[Path]:
    return [p for p in (store.root / "tmp").glob("*") if not store.is_locked(p.name.rsplit(".", 1)[0])]


def _unwanted_results(store: Store, wish: Wish, removed: Leftovers) -> list[Path]:
    """Folders of results that go, each once."""
    results = results_by_use(store)
    due = {r.folder: r for r in [*_too_old(results, wish), *_not_final(results, wish), *_too_much(results, wish)]}
    removed.held = sum(r.held for r in due.values())
    return [r.folder for r in due.values() if not r.held]


def _too_old(results: list[Result], wish: Wish) -> list[Result]:
    if wish.older_than_days is None:
        return []
    limit = time.time() - wish.older_than_days * DAY_S
    return [r for r in results if r.used < limit]


def _not_final(results: list[Result], wish: Wish) -> list[Result]:
    return [r for r in results if not r.final] if wish.intermediate else []


def _too_much(results: list[Result], wish: Wish) -> list[Result]:
    """Held results are passed over here, not listed: others go in their place."""
    if wish.keep_gb is None:
        return []
    sizes = {r.folder: size_of(r.folder) for r in results}
    excess, due = sum(sizes.values()) - wish.keep_gb * 1e9, []
    for r in results:
        if excess > 0 and not r.held and (wish.twins_too or not r.final):
            due.append(r)
            excess -= sizes[r.folder]
    return due


def _remove(store: Store, folder: Path) -> None:
    """Out of sight by one rename first: a run that looks for a result finds all of it or nothing."""
    if folder.is_relative_to(store.root / "artifacts"):
        grave = store.root / "tmp" / f"{folder.name}.removed-{os.getpid()}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        folder = folder.rename(grave)
    store.disk.remove(folder)


def _idle_slots(root: Path, limit: float) -> Iterator[Path]:
    for slot in root.glob("*"):
        lock = slot / "slot.lock"
        if not lock.exists() or lock.stat().st_mtime > limit:
            continue
        with lock.open("a+") as handle:
            if try_flock(handle):
                yield slot


def _forget_prefect_results(store: Store, limit: float) -> None:
    """Prefect writes a small file for every flow run that fails, and never removes it."""
    for path in (store.root / "prefect").glob("*/storage/*"):
        if path.is_file() and path.stat().st_mtime < limit:
            path.unlink(missing_ok=True)


def _forget_runs(store: Store, limit: float, removed: Leftovers, dry_run: bool) -> None:
    every = RunRecords(store)
    records, unreadable = every.survey()
    old = [r.id for r in records if r.started < limit and r.state != "running"]
    old += [u.path.stem for u in unreadable if _written(u.path) < limit and not every.is_held(u)]
    removed.records += len(old)
    if not dry_run:
        for name in old:
            every.remove(name)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone at this moment: not ours to remove
        return math.inf
