"""`twin status`, `twin inspect`, `twin clean`, `twin evaluate`."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.captures.ready import arrived, changed_since
from flows.records.places import captures_root
from flows.records.run_filter import asked_for
from flows.records.run_record import RunRecord, RunRecords
from flows.records.twin_verdict import verdict_of
from flows.run.admission import why_paused
from flows.run.metrics import look_at_captures
from flows.run.metrics_file import write_metrics
from flows.run.time_left import in_words
from flows.upkeep.bucket_cleaning import clean_bucket
from flows.upkeep.cleaning import Leftovers, Wish, clean_up, size_of, usage
from flows.upkeep.retention import retire_twins
from flows.web.address import read_address
from flows.web.embedded_server import answers
from stages.core.errors import CaptureError, ConfigError, StoreError
from stages.core.store import Store

RUNS_SHOWN, NOTES_SHOWN = 10, 10


def status(args: argparse.Namespace) -> int:
    """Runs, newest first, and the size of the store."""
    store = Store()
    records, unreadable = RunRecords(store).survey()
    found = look_at_captures(records)
    waiting, aside = (found.waiting, found.set_aside) if found else (None, {})
    notes = [
        *(f"a run's record is left out: {u}" for u in unreadable),
        *(f"{c} is set aside: {why}" for c, why in aside.items()),
        *_notes_on_captures(),
    ]
    used = usage(store)
    write_metrics(store, records)
    wish = asked_for(args)
    records = wish(records)
    free, paused = shutil.disk_usage(store.root).free if store.root.exists() else 0, why_paused(store)
    if args.json:
        print(
            json.dumps(
                {
                    "store": str(store.root),
                    "bytes": used,
                    "free_bytes": free,
                    "captures_waiting": waiting,
                    "paused": paused,
                    "not_in_bucket": len(store.pending()),
                    "notes": notes,
                    "runs": [r.as_saved() for r in records],
                },
                indent=1,
            )
        )
        return 0
    if not records:
        print("no run fits" if wish.narrows else "no runs yet: start one with `twin reconstruct CAPTURE --out DIR`")
    for record in records if args.all else records[:RUNS_SHOWN]:
        _show_run(record)
    _show_notes(notes, args.all)
    if not args.all and len(records) > RUNS_SHOWN:
        print(f"... and {len(records) - RUNS_SHOWN} before them: `twin status --all`")
    total = ", ".join(f"{name} {_size(n)}" for name, n in used.items() if n)
    print(f"\nstore   {store.root}  {_size(sum(used.values()))} ({total or 'empty'}); {_size(free)} free")
    if store.remote is not None:
        print(f"bucket  {store.remote.url}; {len(store.pending())} results wait to be sent there by the next run")
    if damaged := len(list((store.root / "corrupt").glob("*"))):
        print(
            f"damaged {damaged} results were found damaged and set aside in {store.root / 'corrupt'}: `twin clean --corrupt`"
        )
    if waiting:
        print(f"waiting {waiting} captures in {captures_root()} are READY and not begun")
    if paused:
        print(f"paused  {paused}")
    if address := _serving_address(store):
        print(f"serving {address}")
    return 0


def _notes_on_captures() -> list[str]:
    """What lies in the captures folder and is not taken, or not as it seems."""
    try:
        captures, notes = arrived(captures_root())
    except CaptureError:  # there is no such folder
        return []
    changed = [
        f"{c.path}: its files are others than those of its twin; touch READY to make it anew"
        for c in captures
        if changed_since(c)
    ]
    return [*map(str, notes), *changed]


def _show_notes(notes: Sequence[str], every: bool) -> None:
    for note in notes if every else notes[:NOTES_SHOWN]:
        print(f"note    {note}")
    if not every and len(notes) > NOTES_SHOWN:
        print(f"... and {len(notes) - NOTES_SHOWN} notes more: `twin status --all`")


def _serving_address(store: Store) -> str:
    """The UI of this store's `twin serve`; empty if it does not answer."""
    found = read_address(store)
    return found.ui if found and answers(found.api, 1.0) else ""


def inspect(args: argparse.Namespace) -> int:
    """One stage of one run: where its result came from and why."""
    store = Store()
    record = _find(RunRecords(store), args.which)
    if args.stage not in record.stages:
        raise ConfigError(f"run {record.id} has no stage {args.stage}", f"choose one of {', '.join(record.stages)}")
    stage = record.stages[args.stage]
    print(f"run      {record.id} ({record.state})\nstage    {args.stage} ({stage.state})")
    if stage.state == "done" and stage.cached:
        print("result   from the store: settings, inputs, version and weights were the same as when it was made")
    elif stage.why:
        print(f"computed because: {stage.why}")
    manifest = store.manifest(args.stage, stage.fingerprint) if stage.fingerprint else None
    if manifest is None:
        print("its result is not in the store")
        return 0
    print(f"folder   {store.artifact_dir(args.stage, stage.fingerprint)}")
    print(
        f"took     {in_words(manifest['seconds'])}, {manifest['peak_memory_mb']} MB; method {manifest['report']['method']}. "
        f"{manifest['report']['reason']}"
    )
    for title in ("settings", "inputs", "weights"):
        for name, value in manifest[title].items():
            print(f"{title:8} {name} = {str(value)[:16] if title == 'inputs' else value}")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Scores against the truth."""
    from stages.core import metrics

    scores = metrics.evaluate(Path(args.capture), Path(args.twin))
    if args.json is None:
        print_scores(scores)
    elif args.json == "-":
        print(json.dumps(scores, indent=1))
    else:
        Path(args.json).write_text(json.dumps(scores, indent=1))
    return 0


def clean(args: argparse.Namespace) -> int:
    """What nobody needs any more."""
    wish = Wish(args.older_than, args.keep_gb, args.intermediate, args.twins_too, only_corrupt=args.corrupt)
    store = Store()
    removed: Leftovers = clean_bucket(store, wish, args.dry_run) if args.remote else clean_up(store, wish, args.dry_run)
    verb = "would remove" if args.dry_run else "removed"
    print(
        f"{verb} {removed.folders} folders and {removed.records} run records, {_size(removed.bytes)}"
        + (f"; kept {removed.held} that running runs hold" if removed.held else "")
    )
    if args.twins_older_than is not None:
        retired = retire_twins(store, args.twins_older_than, args.dry_run)
        print(f"{verb} {retired.folders} twins, {_size(retired.bytes)}, but for their records")
    for unreadable in removed.unreadable:
        print(f"note: a run's record is left out: {unreadable}")
    left = size_of(store.root / "artifacts")
    if args.keep_gb is not None and not args.remote and not args.dry_run and left > args.keep_gb * 1e9:
        advice = "" if args.twins_too else "; --twins-too lets the twins' results go as well"
        print(f"results still take {_size(left)}: twins or running runs hold them{advice}")
    return 0


def print_scores(scores: Mapping[str, Any], indent: str = "") -> None:
    """Nested figures, one per line, units in the names."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            print(f"{indent}{name}")
            print_scores(value, indent + "  ")
        else:
            print(f"{indent}{name:36} {f'{value:.4g}' if isinstance(value, float) else value}")


def _find(records: RunRecords, which: str) -> RunRecord:
    path = Path(which).expanduser().resolve()
    if path.exists():
        record = records.find(capture=path) or records.find(out=path)
        if record is None:
            raise StoreError(
                f"no run of {path} is known in this store", "`twin status` lists the runs; TWIN_STORE names the store"
            )
        return record
    return records.load(which)


def _show_run(record: RunRecord) -> None:
    stages = " ".join(
        f"{name}{'' if s.state == 'done' else ':' + s.state}"
        for name, s in record.stages.items()
        if s.state != "waiting"
    )
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started))
    took = f", {in_words(record.seconds)}" if record.seconds else ""
    print(f"{record.id}  {record.state}{took}")
    print(
        f"    {when}  {record.request['capture']} -> {record.request['out']} ({record.request['profile']})"
        + (f"\n    started by {record.started_by}" if record.started_by else "")
    )
    print(f"    {len(record.done())}/{len(record.stages)} stages done: {stages}")
    if record.state == "done" and not record.request.get("until") and (verdict := verdict_of(record.request["out"])):
        print(f"    {verdict['line']}")
    if record.changed:
        print(f"    the capture changed while it was read, so this does not count as done: {record.changed}")
    if record.state == "died":
        print(
            f"    its process is gone. What to do: `twin resume {record.id}`; under `twin serve` it is started again by itself"
        )
    elif record.error:
        print(f"    {record.error}\n    What to do: {record.advice or '`twin resume ' + record.id + '`'}")
        if record.log:
            print(f"    log: {record.log}")


def _size(count: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
