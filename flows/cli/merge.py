"""`twin merge`: two sessions of one object to one twin."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stages.core.errors import CaptureError, StoreError
from stages.core.fingerprint import digest_mapping
from stages.core.merged_capture import KINDS, write_merge
from stages.core.routes import route_of
from stages.core.store import Store
from stages.core.twin_folder import refuse_foreign

UNTIL = "bundle"
"""the stage that the sessions must have reached"""
Results = dict[str, tuple[str, str]]


def merge(args: argparse.Namespace) -> int:
    """Find or make what both sessions give, write down which results these are, and reconstruct from them."""
    from flows.cli.reconstruct import go
    from flows.records.request import Reconstruction

    paths = [Path(p).expanduser().resolve() for p in (args.first, args.second)]
    out = Path(args.out).expanduser().resolve()
    _refuse(paths, out)
    store = Store()
    names = _names(paths)
    sessions = {name: _results(path, args, store) for name, path in zip(names, paths, strict=True)}
    if len({results["pairs"] for results in sessions.values()}) < 2:
        raise CaptureError(f"{paths[0]} and {paths[1]} hold the same session", "name two sessions of the object")
    folder = (
        store.root / "merged" / f"{'+'.join(names)[:80]}-{digest_mapping({'sessions': list(sessions.items())})[:12]}"
    )
    write_merge(folder, sessions)
    request = Reconstruction(
        capture=str(folder),
        out=str(out),
        route="merge",
        profile=args.profile,
        force=args.force,
        settings=_for_merge(args.settings, paths),
        time_limit_s=args.time_limit,
        threads=args.threads,
    )
    go(request, args)
    return 0


def _refuse(paths: list[Path], out: Path) -> None:
    """Before an hour of work. Raises CaptureError, StoreError."""
    for path in paths:
        if not path.is_dir():
            raise CaptureError(f"{path} is not a folder", "name a twin folder or a capture folder")
        if out == path:
            raise StoreError(f"{out} is one of the sessions", "name another folder with --out")
    if paths[0] == paths[1]:
        raise CaptureError(f"{paths[0]} is named twice", "name two sessions of the object")
    refuse_foreign(out)


def _names(paths: list[Path]) -> list[str]:
    """Folder names, with the parents' where they are the same."""
    names = [p.name for p in paths]
    return names if names[0] != names[1] else [f"{p.parent.name}-{p.name}-{k + 1}" for k, p in enumerate(paths)]


def _results(path: Path, args: argparse.Namespace, store: Store) -> Results:
    """{kind: (stage, fingerprint)} of a finished twin, or of a capture that is brought as far as it has to be."""
    if (path / "run.json").is_file():
        return _of_twin(path, store)
    if route_of(path) == "posed":
        raise CaptureError(
            f"{path} holds pictures with known cameras; sessions of a stereo or a depth camera can be merged",
            "bring all cameras into one frame and reconstruct them together",
        )
    return _of_capture(path, args, store)


def _of_twin(path: Path, store: Store) -> Results:
    from flows.records.twin_place import read_run

    stages = read_run(path).get("stages", {})
    made = (
        {name: s.get("fingerprint") for name, s in stages.items() if isinstance(s, dict)}
        if isinstance(stages, dict)
        else {}
    )
    return _by_kind(path, {n: str(f) for n, f in made.items() if f}, store)


def _of_capture(path: Path, args: argparse.Namespace, store: Store) -> Results:
    from flows.records.request import Reconstruction
    from flows.records.run_record import RunRecords
    from flows.run.run import Beside
    from flows.run.watcher import Watcher
    from flows.serve.session import reconstruct_here
    from flows.ui.progress_line import ProgressLine

    if not args.quiet:
        print(f"{path}: to the end of {UNTIL}", file=sys.stderr, flush=True)
    request = Reconstruction(
        capture=str(path),
        out=f"{path}.twin",
        profile=args.profile,
        until=UNTIL,
        settings=_own(path, args.settings),
        time_limit_s=args.time_limit,
        threads=args.threads,
    )
    beside = Beside(Watcher() if args.quiet else ProgressLine())
    reconstruct_here(request, beside, lambda text: print(text, file=sys.stderr), not args.no_prefect)
    done = next(r for r in RunRecords(store).of_capture(path) if r.state == "done" and r.request.get("until") == UNTIL)
    return _by_kind(path, {name: s.fingerprint for name, s in done.stages.items()}, store)


def _for_merge(settings: list[str], paths: list[Path]) -> tuple[str, ...]:
    """Settings but those that only a capture among the sessions has: they were used for that."""
    used = {s for p in paths if not (p / "run.json").is_file() for s in _own(p, settings)}
    return tuple(s for s in settings if s not in used or s in _of_route("merge", settings))


def _own(path: Path, settings: list[str]) -> tuple[str, ...]:
    """Settings of the merge that its sessions have too."""
    return _of_route(route_of(path), settings)


def _of_route(route: str, settings: list[str]) -> tuple[str, ...]:
    from flows.run.stage_child import load_stages

    names = {s.name for s in load_stages(route)}
    return tuple(s for s in settings if s.partition(".")[0].strip() in names)


def _by_kind(path: Path, made: dict[str, str], store: Store) -> Results:
    """The newest maker of each kind. Raises StoreError where the store no longer has it."""
    found: Results = {}
    for stage, fingerprint in made.items():
        manifest = store.manifest(stage, fingerprint)
        found |= {kind: (stage, fingerprint) for kind in (manifest or {}).get("outputs", {}) if kind in KINDS}
    if lacking := [k for k in KINDS if k not in found]:
        raise StoreError(
            f"{path}: the store {store.root} has no {', '.join(lacking)} of this session",
            "name its capture folder instead, or reconstruct it again: what is missing is computed then",
        )
    return found
