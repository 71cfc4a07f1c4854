"""A back-up of a store and its database while runs go on, and its way back.

    FOLDER/prefect.db or prefect.dump    the database, at one moment
    FOLDER/serve/                        the password and the audit of `twin serve`
    FOLDER/store/runs/                   records and logs
    FOLDER/store/artifacts/              results, each checked against its manifest, files first and the manifest last
    FOLDER/backup.json                   when, by which version; written last

The order makes it consistent: the database is the oldest, the results the newest. A run that the database shows under way is brought back
by the restored server, and what it had finished until then, or later, is there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from flows.records.run_record import RunRecords
from flows.records.saved import Unreadable, read_object
from flows.upkeep.database_copy import copy_database, restore_database
from flows.web.address import home
from stages.core.errors import StoreError
from stages.core.file_locks import is_held
from stages.core.manifest import Damaged
from stages.core.store import MANIFEST, Store

ABOUT = "backup.json"
SCHEMA_VERSION = 1
OF_SERVE = ("password", "audit.jsonl")


@dataclass
class Copied:
    """What went over."""

    database: str = ""
    """in words; empty if there is none"""
    records: int = 0
    results: int = 0
    kept: int = 0
    """results that were there already"""
    removed: int = 0
    left_out: list[str] = field(default_factory=list)
    """damaged results, and those that went while they were copied"""


@dataclass(frozen=True)
class Parts:
    """Which of it; `prune`: results that the store no longer has leave the back-up too."""

    database: bool = True
    results: bool = True
    prune: bool = False


def back_up(store: Store, folder: Path, parts: Parts = Parts()) -> Copied:
    """Bring the back-up in `folder` up to date; it is made if need be. Raises StoreError."""
    _refuse_inside(store, folder)
    there, done = Store(folder / "store"), Copied()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # the password and, in the database, addresses of webhooks
        if parts.database and (copy := copy_database(store, folder)) is not None:
            done.database = str(copy)
        for name in OF_SERVE:
            _copy_file(home(store) / name, folder / "serve" / name)
        done.records = _copy_records(store, there)
        if parts.results:
            _copy_results(store, there, done)
        if parts.prune:
            done.removed = _prune(store, there)
        there.forget_locks(0.0)  # one was made for each result
        about = {
            "schema_version": SCHEMA_VERSION,
            "made": time.time(),
            "version": metadata.version("stereotwin"),
            "store": str(store.root),
        }
        there.disk.replace(folder / ABOUT, json.dumps({**about, **asdict(done)}, indent=1).encode())
    except OSError as e:
        raise StoreError(
            f"the back-up in {folder} could not be written: {e.strerror} ({e.filename})",
            "give it a disk with room; the same command goes on where it stopped",
        ) from e
    return done


def restore(folder: Path, store: Store, parts: Parts = Parts()) -> Copied:
    """Put a back-up into the store; what the store has of records and results stays. Raises StoreError, also while something runs on it."""
    _check(folder)
    _refuse_busy(store)
    there, done = Store(folder / "store"), Copied()
    try:
        if parts.database:
            done.database = restore_database(store, folder)
        for name in OF_SERVE:
            if not (home(store) / name).exists():
                _copy_file(folder / "serve" / name, home(store) / name)
        done.records = _copy_records(there, store, over=False)
        if parts.results:
            _copy_results(there, store, done)
    except OSError as e:
        raise StoreError(
            f"the store {store.root} could not be written: {e.strerror} ({e.filename})",
            "give it a disk with room, then the same command with --no-database if the database is there by now",
        ) from e
    return done


def _refuse_inside(store: Store, folder: Path) -> None:
    if folder.resolve().is_relative_to(store.root.resolve()):
        raise StoreError(f"{folder} lies in the store itself", "give a folder on another disk")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).exists() and not (folder / "store").is_dir():
        raise StoreError(
            f"{folder} holds other things and no back-up", "give an empty folder, or one that `twin backup` made"
        )


def _check(folder: Path) -> None:
    try:
        read_object(folder / ABOUT, SCHEMA_VERSION)
    except FileNotFoundError as e:
        raise StoreError(
            f"{folder} is no finished back-up: it has no {ABOUT}", "name the folder that `twin backup` was given"
        ) from e
    except Unreadable as e:
        raise StoreError(str(e), "use the version that made it, or an earlier back-up") from e


def _refuse_busy(store: Store) -> None:
    """A database or a record must not change under a process that works with it."""
    if is_held(home(store) / "serve.lock"):
        raise StoreError(f"a `twin serve` of the store {store.root} runs", "stop it, restore, start it again")
    if running := [r.id for r in RunRecords(store).all() if r.state == "running"]:
        raise StoreError(
            f"runs of the store {store.root} are under way: {', '.join(running[:5])}", "wait for them or end them"
        )


def _copy_records(source: Store, target: Store, over: bool = True) -> int:
    """Records and logs. A record changes as its run goes on; each write of it is one rename, so each copy is whole."""
    count = 0
    for path in _files(source.root / "runs", ".json", ".log"):
        copy = target.root / "runs" / path.name
        if copy.exists() and (not over or _same(path, copy)):
            continue
        count += _copy_file(path, copy) and path.suffix == ".json"
    return count


def _same(one: Path, other: Path) -> bool:
    try:
        a, b = one.stat(), other.stat()
    except FileNotFoundError:
        return False
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _files(folder: Path, *kinds: str) -> Iterable[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix in kinds and p.is_file())


def _copy_file(source: Path, target: Path) -> bool:
    """Whole or not at all; False if it has gone meanwhile. Its rights and times go with it."""
    if not source.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        shutil.copy2(source, fresh)
    except FileNotFoundError:
        return False
    fresh.replace(target)
    return True


def _copy_results(source: Store, target: Store, done: Copied) -> None:
    for stage, fingerprint, _ in source.results():
        try:
            if target.manifest(stage, fingerprint) is not None:
                done.kept += 1
            else:
                done.results += copy_result(source, target, stage, fingerprint)
        except Damaged as e:
            done.left_out.append(f"{stage} {fingerprint[:12]}: {e}")


def copy_result(source: Store, target: Store, stage: str, fingerprint: str) -> bool:
    """One result: its files, checked against its manifest, then the manifest, then one rename. False if it has gone meanwhile.

    Raises Damaged if its files are not those of its manifest: cleaning or a run that computes it anew came between, or the disk is bad.
    """
    manifest = source.manifest(stage, fingerprint)
    if manifest is None:
        return False
    folder = source.artifact_dir(stage, fingerprint)
    with target.lock(fingerprint), target.workspace(fingerprint) as place:
        for name in manifest["files"]:
            if not _copy_file(folder / name, place / name):
                raise Damaged(f"{name} is not there any more")
        if not _copy_file(folder / MANIFEST, place / MANIFEST):
            raise Damaged("it has gone meanwhile")
        target.adopt(stage, fingerprint, place)
    return True


def _prune(store: Store, there: Store) -> int:
    """Only where the store has results at all: an empty store is a loss, not a wish."""
    kept = {(stage, fingerprint) for stage, fingerprint, _ in store.results()}
    gone = (
        [folder for stage, fingerprint, folder in there.results() if (stage, fingerprint) not in kept] if kept else []
    )
    for folder in gone:
        there.disk.remove(folder)
    return len(gone)
