"""Which results the store holds, when each was last used, and which must not be removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.records.run_record import RunRecord, RunRecords
from flows.run.stage_child import load_stages
from stages.base import Stage
from stages.core.store import Store


@dataclass(frozen=True)
class Result:
    """One finished result of one stage."""

    folder: Path
    used: float
    """end of the last run that made it or took it from the store; seconds since the epoch"""
    held: bool
    """a run under way has asked for it, or is making it"""
    final: bool
    """no stage reads what this one makes: it is the twin itself"""


def results_by_use(store: Store) -> list[Result]:
    """All results, the one that nobody has used for longest first. While a run is under way whose record cannot be read, nobody knows what
    it holds: then all are held."""
    every = RunRecords(store)
    records, unreadable = every.survey()
    used, held, last = last_use(records), held_by_runs(records), final_stages(load_stages())
    blind, unsent = (
        any(every.is_held(u) for u in unreadable),
        set(store.pending()) if store.remote is not None else set(),
    )
    found = [
        Result(
            folder,
            max(folder.stat().st_mtime, used.get(fingerprint, 0.0)),
            blind or fingerprint in held or (stage, fingerprint) in unsent or store.is_locked(fingerprint),
            stage in last,
        )
        for stage, fingerprint, folder in store.results()
    ]
    return sorted(found, key=lambda r: r.used)


def final_stages(stages: Iterable[Stage]) -> set[str]:
    """Names of the stages whose outputs no other stage reads."""
    stages = tuple(stages)
    read = {kind for s in stages for kind in (*s.inputs, *getattr(s, "inputs_where_made", ()))}
    return {s.name for s in stages if not read & set(s.outputs)}


def last_use(records: Iterable[RunRecord]) -> dict[str, float]:
    """When the last run ended that made or took it, by fingerprint."""
    used: dict[str, float] = {}
    for r in records:
        for s in r.stages.values():
            if s.state == "done":
                used[s.fingerprint] = max(used.get(s.fingerprint, 0.0), r.started + r.seconds)
    return used


def held_by_runs(records: Iterable[RunRecord]) -> set[str]:
    """Fingerprints that runs under way have asked for."""
    return {s.fingerprint for r in records if r.state == "running" for s in r.stages.values()}
