"""`twin weights list|fetch|verify|add` and `twin licences`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from flows.records.run_record import RunRecord, RunRecords
from flows.records.twin_record import damage_of, read_twin
from flows.run.stage_child import load_stages, restore_config
from stages.base import Stage
from stages.core import weight_files
from stages.core.errors import ConfigError, WeightsError
from stages.core.licences import Licence, of_run, refuse_non_commercial
from stages.core.store import Store
from stages.core.weights import entry, find, how_to_get, registry, weights_folder


def list_all(args: argparse.Namespace) -> int:
    """Every entry: there or not, licence, size, what uses it."""
    rows = [{**asdict(e), "state": find(e).state} for e in registry().values()]
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    print(f"folder   {weights_folder()}   (TWIN_WEIGHTS)\n")
    for row in rows:
        use = "commercial use" if row["commercial"] else "NOT for commercial use"
        size = f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "size unknown"
        print(f"{row['name']:24} {row['state']:8} {size:>12}   {row['licence']} ({use})")
        print(f"{'':24} {row['title']}; {', '.join(row['used_by']) or 'no stage uses it yet'}")
    print("\nthe default methods need none of these; `twin weights fetch NAME` brings one")
    return 0


def fetch(args: argparse.Namespace) -> int:
    """Download, or copy from a mirror folder."""
    for name in args.names:
        added = weight_files.fetch(name, args.mirror and Path(args.mirror), args.accept_unverified, _bar(name))
        if added is None:
            print(f"{name}: already there and verified ({find(entry(name)).path})")
        else:
            _say(added)
    return 0


def add(args: argparse.Namespace) -> int:
    """A file that was downloaded by hand."""
    _say(weight_files.add(Path(args.file).expanduser(), args.accept_unverified))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Compute every digest again; WeightsError if a file is not the right one or, where it was named, missing."""
    wrong = []
    for wanted in [entry(n) for n in args.names] or list(registry().values()):
        found = find(wanted)
        if found.state == "ok":
            print(f"{wanted.name:24} ok       sha256 {found.sha256}")
        elif found.state == "wrong":
            print(
                f"{wanted.name:24} WRONG    sha256 expected {found.expected or 'none pinned'}, found {found.sha256}  {found.path}"
            )
            wrong.append(wanted)
        elif args.names:
            print(f"{wanted.name:24} missing  {found.path}")
            wrong.append(wanted)
    if wrong:
        raise WeightsError(f"not usable: {', '.join(w.name for w in wrong)}", "; ".join(how_to_get(w) for w in wrong))
    return 0


def licences(args: argparse.Namespace) -> int:
    """Licence of every library and every file of weights that a run used; without a run, of the default methods."""
    names, libraries = _used_by(args.which) if args.which else (set(), set())
    known = registry()
    for name in sorted(names - set(known)):
        print(f"weights  {name:28} not in the registry of this machine: its licence is not known", file=sys.stderr)
    found = of_run(names & set(known), libraries)
    if args.json:
        print(json.dumps([asdict(l) for l in found], indent=1))
    else:
        _print(found)
    if args.commercial:
        refuse_non_commercial(names & set(known), libraries)
    return 0


def _used_by(which: str) -> tuple[set[str], set[str]]:
    """Names of (weights, optional libraries) by the manifests of a run, given by id or twin folder. Raises ConfigError or StoreError."""
    store, record = Store(), _record(which)
    asks = {s.name: s for s in load_stages() if type(s).needs_libraries is not Stage.needs_libraries}
    weights: set[str] = set()
    libraries: set[str] = set()
    for stage, state in record.stages.items():
        manifest = store.manifest(stage, state.fingerprint) if state.fingerprint else None
        deciding = (manifest or {}).get("weights", {})
        weights |= {
            name for name in deciding if f"{name} model" in deciding
        }  # as stages.core.weights.identity writes them
        if manifest is not None and stage in asks:
            libraries |= set(asks[stage].needs_libraries(restore_config(asks[stage].Config, manifest["settings"])))
    return weights, libraries


def _record(which: str) -> RunRecord:
    path, records = Path(which).expanduser(), RunRecords(Store())
    if not path.is_dir():
        return records.load(which)
    if not (path / "run.json").is_file():
        raise ConfigError(
            f"{path} is no twin folder: it has no run.json",
            "give the folder that `--out` named, or a run of `twin status`",
        )
    if (twin := read_twin(path)) is None or not twin.run:
        raise ConfigError(
            f"{path / 'run.json'} names no run{' (' + damage + ')' if (damage := damage_of(path)) else ''}",
            "give a run of `twin status`",
        )
    return records.load(twin.run)


def _print(found: Iterable[Licence]) -> None:
    for l in found:
        mark = "" if l.commercial else "   NOT for commercial use"
        print(f"{l.kind:8} {l.name:32} {l.version:16} {l.text or 'not stated in its metadata'}{mark}")


def _say(added: weight_files.Added) -> None:
    print(f"{added.entry.name}: {added.path}  ({added.entry.licence})")
    if added.pinned_now:
        print(f"  its digest was not pinned; from now on it is, on this machine: sha256 {added.source_sha256}")
    if not added.entry.commercial:
        print(f"  not for commercial use{f'; instead: {added.entry.instead}' if added.entry.instead else ''}")


def _bar(name: str) -> weight_files.Progress:
    if not sys.stderr.isatty():
        return lambda done, total: None

    def show(done: int, total: int) -> None:
        share = f" of {total / 1e6:.1f}" if total else ""
        print(f"\r{name}: {done / 1e6:.1f}{share} MB", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show
