"""`twin reconstruct`, `twin resume`, `twin demo`.

What takes long to import comes after the first line that the user sees: numpy, OpenCV and pydantic are half a second, Prefect more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.records.s3_addresses import named_capture, named_twin
from flows.run.before_work import check_places
from flows.ui.colour import VERDICTS, painted
from stages.core.errors import ConfigError, StoreError
from stages.core.store import Store

if TYPE_CHECKING:
    from flows.records.request import Reconstruction
    from flows.records.run_record import RunRecord
    from flows.run.progress_pictures import ProgressPictures

LATEST = 20
"""runs that began in the same second are told apart by their records"""


def reconstruct(args: argparse.Namespace) -> int:
    """Run the flow on one capture and name the twin."""
    (capture, source), (out, target) = named_capture(args.capture), named_twin(args.out, args.capture)
    if source or target:
        from flows.run.travelling import check_buckets

        check_buckets(source, target)
    if not source:
        check_places(capture, None if args.until else out, args.route)
    if not args.quiet:
        _begin(source or capture, target or out, args.profile)
    go(_request(args), args)
    return 0


def resume(args: argparse.Namespace) -> int:
    """The same request again, as part of the same run: what is done is not computed again, also if it was forced."""
    from flows.records.request import Reconstruction
    from flows.records.run_record import RunRecords

    records = RunRecords(Store())
    if args.which and args.last:
        raise ConfigError("both a run and --last are given", "give one of them")
    record = records.load(args.which) if args.which else next(iter(records.recent(LATEST)), None)
    if record is None:
        raise StoreError(
            f"there is no run in {records.folder}", "start one with `twin reconstruct`; TWIN_STORE names the store"
        )
    go(Reconstruction.model_validate(record.request), args, record)
    return 0


def demo(args: argparse.Namespace) -> int:
    """Built-in capture, twin, and the twin's error against the known truth."""
    from flows.cli.status import print_scores
    from flows.records.request import Reconstruction
    from stages.core.metrics import evaluate
    from stages.core.synthetic.capture import CaptureSpec, write_capture

    folder = Path(args.out).resolve()
    capture, twin = folder / "capture", folder / "twin"
    if not capture.exists():
        partial = capture.with_name("capture.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a demo that was ended while it rendered
        write_capture(partial, CaptureSpec(frames=30, swings=2), workers=2, progress=_rendering)
        partial.rename(capture)
    request = Reconstruction(capture=str(capture), out=str(twin), profile=args.profile, settings=tuple(args.settings))
    go(request, args)
    print("\nAgainst the known truth:")
    print_scores(evaluate(capture, twin))
    return 0


def _rendering(done: int, total: int, note: str) -> None:
    end = "\n" if done == total else ""
    print(f"\r{note}: {done}/{total}", end=end, file=sys.stderr, flush=True)


def _request(args: argparse.Namespace) -> Reconstruction:
    """Absolute paths, so that the request means the same later and elsewhere."""
    from flows.records.request import Reconstruction

    (capture, source), (out, target) = named_capture(args.capture), named_twin(args.out, args.capture)
    return Reconstruction(
        capture=capture,
        out=out,
        capture_from=source,
        twin_to=target,
        route=args.route,
        profile=args.profile,
        box=args.box,
        start_from=args.start_from,
        until=args.until,
        force=args.force,
        settings=tuple(args.settings),
        time_limit_s=args.time_limit,
        threads=args.threads,
    )


def _begin(capture: str, out: str, profile: str) -> None:
    """At once: what follows starts a server."""
    print(f"{capture} -> {out} ({profile})", file=sys.stderr, flush=True)


def go(
    request: Reconstruction,
    args: argparse.Namespace,
    resumed: RunRecord | None = None,
    pictures: ProgressPictures | None = None,
) -> None:
    """Run the flow and say what came out; `args.viewer`, where the command has one, is the base of a link to it."""
    from flows.run.run import Beside
    from flows.run.watcher import Watcher
    from flows.serve.session import reconstruct_here
    from flows.ui.progress_line import ProgressLine
    from flows.ui.viewer_link import viewer_link

    watcher = Watcher() if getattr(args, "quiet", False) else ProgressLine()
    beside = Beside(watcher, resumed, pictures=pictures)
    twin = reconstruct_here(request, beside, lambda text: print(text, file=sys.stderr), not args.no_prefect)
    base = getattr(args, "viewer", None)
    _show(twin, request, getattr(args, "json", False), viewer_link(base, Path(twin)) if base and twin else None)


def _show(twin: str | None, request: Reconstruction, as_json: bool, link: str | None) -> None:
    from flows.records.twin_verdict import verdict_of

    verdict = verdict_of(twin) if twin else None
    if as_json:
        report = str(Path(twin) / "report.html") if twin else None
        linked = ({"viewer": link} if link else {}) | ({"sent": request.twin_to} if request.twin_to and twin else {})
        print(
            json.dumps({"twin": twin, "report": report, "until": request.until, "verdict": verdict, **linked}, indent=1)
        )
    elif twin is None:
        print(f"stopped after {request.until}, as asked; no twin is written")
    else:
        print(f"twin    {twin}\nreport  {Path(twin) / 'report.html'}")
        if request.twin_to:
            print(f"sent    {request.twin_to}")
        if link:
            print(f"viewer  {link}")
        if verdict:
            word = verdict["word"]
            print("verdict " + painted(word, VERDICTS.get(word, ""), sys.stdout) + verdict["line"].removeprefix(word))
