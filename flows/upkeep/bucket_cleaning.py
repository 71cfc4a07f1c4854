"""What may go from the bucket of TWIN_STORE_S3. Machines keep what they work with in their own folder, so nothing that goes here stops a
run: it is computed again where nobody has it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flows.records.run_record import RunRecords
from flows.run.stage_child import load_stages
from flows.upkeep.cleaning import DAY_S, Leftovers, Wish
from flows.upkeep.result_use import final_stages, held_by_runs, last_use
from stages.core.errors import ConfigError, StoreError
from stages.core.remote_results import URL, RemoteResult, RemoteResults, RemoteTrouble
from stages.core.store import Store


def clean_bucket(store: Store, wish: Wish, dry_run: bool = False) -> Leftovers:
    """Files of uploads that were cut off more than a day ago, and what `wish` says. Age counts from when a result was written, or used by a
    run that this store knows of. Raises ConfigError, StoreError."""
    if store.remote is None:
        raise ConfigError("there is no bucket to clean", f"set {URL}=s3://BUCKET/FOLDER")
    try:
        return _clean(store, store.remote, wish, dry_run)
    except RemoteTrouble as e:
        raise StoreError(
            f"the bucket {store.remote.url} did not do it: {e}", "try again; what went is gone whole"
        ) from e


def _clean(store: Store, remote: RemoteResults, wish: Wish, dry_run: bool) -> Leftovers:
    removed, now, whole = Leftovers(), time.time(), []
    remote.sweep_leases(now, dry_run)
    for result in remote.results():
        if result.written:
            whole.append(result)
        else:
            removed.folders += bool(remote.sweep(result, now, dry_run))
    records = RunRecords(store).all()
    held, used = held_by_runs(records), last_use(records)
    whole.sort(key=lambda r: max(r.written, used.get(r.fingerprint, 0.0)))
    free = [r for r in whole if r.fingerprint not in held]
    due = {r.fingerprint: r for r in [*_too_old(free, used, wish, now), *_too_much(whole, free, wish)]}
    removed.held = len(whole) - len(free)
    for result in due.values():
        removed.folders, removed.bytes = removed.folders + 1, removed.bytes + result.bytes
        if not dry_run:
            remote.remove(result)
    return removed


def _too_old(free: Sequence[RemoteResult], used: dict[str, float], wish: Wish, now: float) -> list[RemoteResult]:
    if wish.older_than_days is None:
        return []
    limit = now - wish.older_than_days * DAY_S
    return [r for r in free if max(r.written, used.get(r.fingerprint, 0.0)) < limit]


def _too_much(whole: Sequence[RemoteResult], free: Sequence[RemoteResult], wish: Wish) -> list[RemoteResult]:
    """Those used longest ago, until the rest fits."""
    if wish.keep_gb is None:
        return []
    last, excess, due = final_stages(load_stages()), sum(r.bytes for r in whole) - wish.keep_gb * 1e9, []
    for result in free:
        if excess > 0 and (wish.twins_too or result.stage not in last):
            due.append(result)
            excess -= result.bytes
    return due
