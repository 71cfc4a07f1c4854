"""What is known of each run, one JSON file per run under <store>/runs, so that `twin status` and `twin resume` need no server.

A run holds flock on <id>.lock while it lives: that, not the process id, tells whether it still runs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import Field, ValidationError

from flows.records.names import printable
from flows.records.request import Reconstruction
from flows.records.saved import Unreadable, beyond, read_object, saved_as, with_beyond
from stages.core.errors import StoreError
from stages.core.file_locks import is_held, lock
from stages.core.store import Store

log = logging.getLogger(__name__)
_told: set[Path] = set()
SCHEMA_VERSION = 1
ASKED_FOR_S = 0.75
"""Whoever asks whether a run lives, holds its lock for a moment."""
State = Literal["waiting", "running", "done", "failed", "interrupted", "died"]
Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]*$")]
"""part of a path in the store"""


@dataclass
class StageRecord:
    """One stage of one run."""

    state: State = "waiting"
    cached: bool = False
    seconds: Seconds = 0.0
    """of this run: a result from the store takes next to nothing"""
    computed_in_s: Seconds = 0.0
    """what the result took when it was computed"""
    peak_memory_mb: int = 0
    fingerprint: Name = ""
    why: str = ""
    """why it was computed, in plain words"""


@dataclass
class RunRecord:
    """One run: what was asked, how far it came."""

    id: str
    request: dict[str, Any]
    state: State = "running"
    stages: dict[Name, StageRecord] = field(default_factory=dict)
    pid: int = 0
    host: str = ""
    started: Seconds = 0.0
    """since the epoch"""
    seconds: Seconds = 0.0
    error: str = ""
    advice: str = ""
    started_by: str = ""
    """user@host, "READY, seen on HOST", "batch ID", "schedule" or "UI or API"; empty in records of early versions"""
    flow_run: str = ""
    """id of the Prefect flow run, when there is one"""
    marker: int = 0
    """when the capture's READY was written, ns; 0 if it had none"""
    listing: str = ""
    """digest of the names, sizes and times of the capture's files as they were read"""
    changed: str = ""
    """what changed in the capture while the run worked on it, in words"""
    log: str = ""
    """file with all that the stages said; a finished run leaves a copy as run.log in its twin folder"""

    beyond: dict[str, Any] = field(default_factory=dict)
    """what a newer version wrote into this record and this one does not know, nested as there: written back as it was"""

    def as_saved(self) -> dict[str, Any]:
        """Its fields, and what was beyond them."""
        return with_beyond({k: v for k, v in asdict(self).items() if k != "beyond"}, self.beyond)

    def done(self) -> list[str]:
        """Stages that are finished."""
        return [name for name, s in self.stages.items() if s.state == "done"]


class RunRecords:
    """All records of one store."""

    def __init__(self, store: Store) -> None:
        self.folder, self._disk = store.root / "runs", store.disk

    def new(self, request: dict[str, Any], stages: list[str], flow_run: str = "") -> RunRecord:
        """A record with an id that tells when and what, so that `find` opens a few files and not those of ten thousand runs."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{_slug(request['capture'])}-{flow_run[:8] or secrets.token_hex(4)}"
        return RunRecord(
            name,
            request,
            stages={s: StageRecord() for s in stages},
            pid=os.getpid(),
            host=socket.gethostname(),
            started=time.time(),
            flow_run=flow_run,
            log=str(self.folder / f"{name}.log"),
        )

    def save(self, record: RunRecord) -> None:
        """Write atomically and durably. A full disk must not end a run that may still read its results: it is logged."""
        data = json.dumps({"schema_version": SCHEMA_VERSION, **record.as_saved()}, indent=1).encode()
        try:
            self._disk.replace(self.folder / f"{record.id}.json", data)
        except OSError as e:
            log.warning(
                "cannot write the record of this run (%s); `twin status` will not show its progress", e.strerror
            )

    def hold(self, record: RunRecord) -> IO[bytes] | None:
        """Open lock file that says this run lives, here from now on; close it at the end. None if it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = lock(self.folder / f"{record.id}.lock", ASKED_FOR_S)
        except TimeoutError as e:
            raise StoreError(
                f"run {record.id} is under way in another process", "wait for it; `twin status` shows how far it is"
            ) from e
        except OSError:
            return None
        record.pid, record.host = os.getpid(), socket.gethostname()
        return handle

    def load(self, run: str) -> RunRecord:
        """By id or by the beginning of one. Raises StoreError for none or several."""
        found = sorted(self.folder.glob(f"{_literal(run)}*.json"))
        if len(found) != 1:
            raise StoreError(
                f"{'no run is' if not found else f'{len(found)} runs are'} named {run}", "`twin status` lists the runs"
            )
        try:
            return self._read(found[0])
        except Unreadable as e:
            raise StoreError(
                f"this run's record cannot be used: {e}",
                "start it again with `twin reconstruct`; if a newer version wrote the record, use that version",
            ) from e

    def all(self) -> list[RunRecord]:
        """Newest first; those that cannot be read are left out with a warning."""
        return self._load_all(self.folder.glob("*.json"))

    def survey(self) -> tuple[list[RunRecord], list[Unreadable]]:
        """All, newest first, and the files that are no record or one of a newer version."""
        unreadable: list[Unreadable] = []
        return self._load_all(self.folder.glob("*.json"), unreadable), unreadable

    def again(self, known: dict[str, tuple[int, RunRecord]]) -> list[RunRecord]:
        """As `all`, for who asks often: what is `known` of runs that are over is not read again. Keeps `known` up to date."""
        there = {p.name: p for p in self.folder.glob("*.json")}
        for name in known.keys() - there.keys():
            del known[name]
        found = []
        for name, path in there.items():
            stamp = path.stat().st_mtime_ns if path.exists() else 0
            if name in known and known[name][0] == stamp:
                found.append(known[name][1])
                continue
            read = self._load_all([path])
            found += read
            for r in read:
                if r.state not in ("running", "died"):  # those two may change although the file does not
                    known[name] = (stamp, r)
        return sorted(found, key=lambda r: r.started, reverse=True)

    def recent(self, count: int) -> list[RunRecord]:
        """The newest, newest first."""
        found: list[RunRecord] = []
        for path in sorted(self.folder.glob("*.json"), key=lambda p: p.name, reverse=True):
            if len(found) == count:
                break
            found += self._load_all([path])
        return sorted(found, key=lambda r: r.started, reverse=True)

    def of_capture(self, capture: Path) -> list[RunRecord]:
        """All runs of one capture, newest first."""
        found = self._load_all(self.folder.glob(f"*-{_slug(str(capture))}-*.json"))
        return [r for r in found if r.request["capture"] == str(capture)]

    def by_capture(self) -> dict[str, list[RunRecord]]:
        """All runs of each capture, newest first."""
        found: dict[str, list[RunRecord]] = {}
        for r in self.all():
            found.setdefault(r.request["capture"], []).append(r)
        return found

    def find(self, *, capture: Path | None = None, out: Path | None = None, flow_run: str = "") -> RunRecord | None:
        """The newest run of a capture, for a twin folder, or of a Prefect flow run."""
        if flow_run:
            found = [r for r in self._load_all(self.folder.glob(f"*-{flow_run[:8]}.json")) if r.flow_run == flow_run]
        else:
            found = self.of_capture(capture) if capture else [r for r in self.all() if r.request["out"] == str(out)]
        return next(iter(found), None)

    def _load_all(self, paths: Iterable[Path], unreadable: list[Unreadable] | None = None) -> list[RunRecord]:
        found = []
        for path in paths:
            try:
                found.append(self._read(path))
            except FileNotFoundError:  # removed at this moment
                continue
            except Unreadable as e:
                if unreadable is not None:
                    unreadable.append(e)
                elif path not in _told:
                    log.warning("a run's record is left out: %s", e)
                    _told.add(path)
        return sorted(found, key=lambda r: r.started, reverse=True)

    def remove(self, run: str) -> None:
        """Forget the run of this id."""
        for path in self.folder.glob(f"{_literal(run)}.*"):
            with suppress(OSError):  # a folder of that name, say
                path.unlink(missing_ok=True)

    def _read(self, path: Path) -> RunRecord:
        data = read_object(path, SCHEMA_VERSION)
        record = saved_as(RunRecord, {k: v for k, v in data.items() if k != "beyond"}, path)
        if record.id != path.stem:
            raise Unreadable(path, f"id: {printable(path.stem)} was expected, {printable(record.id)[:60]} was found")
        record.request = _request(record.request, path)
        record.beyond = beyond({"schema_version": SCHEMA_VERSION, **record.as_saved()}, data)
        if record.state == "running" and not self._lives(record):
            record.state = "died"
            for stage in record.stages.values():
                stage.state = "died" if stage.state == "running" else stage.state
        return record

    def _lives(self, record: RunRecord) -> bool:
        return is_held(self.folder / f"{record.id}.lock")

    def is_held(self, unreadable: Unreadable) -> bool:
        """Whether the run whose record cannot be read is under way."""
        return is_held(unreadable.path.with_suffix(".lock"))


def _request(saved: dict[str, Any], path: Path) -> dict[str, Any]:
    """As `Reconstruction` has it, without what it does not know. Raises Unreadable."""
    try:
        return Reconstruction.model_validate(
            {k: v for k, v in saved.items() if k in Reconstruction.model_fields}
        ).model_dump(mode="json")
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False)[0]
        raise Unreadable(path, f"request.{'.'.join(map(str, first['loc']))}: {first['msg']}") from e


def _slug(capture: str) -> str:
    return (re.sub(r"[^A-Za-z0-9_-]+", "-", Path(capture).name) or "capture")[:40]


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
