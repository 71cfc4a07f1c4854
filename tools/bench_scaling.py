"""How time and memory grow with cores, frames and pixels: cold runs of the built-in capture, thinned and scaled.

    make bench-scaling [ARGS="--work FOLDER --profile standard"]

Writes docs/benchmarks-scaling.json and the table between the markers of docs/benchmarks.md. "Growth of the time" is over the base run's, to
be held against the growth of the work: below it is better than linear.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench_pages import between_markers
from bench_run import ROOT, circumstances, reconstruct
from upscale_capture import resize_capture

from stages.core.synthetic.capture import CaptureSpec, write_capture

BASE_FRAMES, BASE_WIDTH, BASE_HEIGHT = 40, 640, 360
MOST_FRAMES, RENDERED_WIDTH, RENDERED_HEIGHT = 80, 960, 540


@dataclass(frozen=True)
class Case:
    """One run."""

    axis: str
    frames: int
    scale: float
    cores: int


CORES = len(os.sched_getaffinity(0))
BASE = Case("base", BASE_FRAMES, 1.0, CORES)
CASES = (
    BASE,
    Case("cores", BASE_FRAMES, 1.0, 1),
    Case("frames", 20, 1.0, CORES),
    Case("frames", 80, 1.0, CORES),
    Case("size", BASE_FRAMES, 0.5, CORES),
    Case("size", BASE_FRAMES, 2.0, CORES),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "scaling", help="captures, stores and twins go here"
    )
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--no-docs", action="store_true")
    args = parser.parse_args()
    rows = [_measure(case, args.profile, args.work.absolute()) for case in CASES]
    record = {**circumstances(), "profile": args.profile, "runs": rows}
    print(_section(record))
    if not args.no_docs:
        (ROOT / "docs" / "benchmarks-scaling.json").write_text(json.dumps(record, indent=1))
        between_markers(ROOT / "docs" / "benchmarks.md", "scaling", _section(record))
    return 0 if all(row["exit_code"] == 0 for row in rows) else 1


def _measure(case: Case, profile: str, work: Path) -> dict:
    capture = _capture(case, work)
    out, store = work / "twin", work / "store"
    for folder in (out, store):
        shutil.rmtree(folder, ignore_errors=True)
    timed = reconstruct(capture, out, store, profile, cores=case.cores)
    if timed.exit_code != 0:
        print(timed.log.read_text()[-2000:], file=sys.stderr)
    figures = {"wall_s": timed.wall_s, "peak_memory_mb": timed.peak_memory_mb, "stage_seconds": timed.stage_seconds}
    return {**asdict(case), "exit_code": timed.exit_code, **figures}


def _capture(case: Case, work: Path) -> Path:
    """The case's frames of one rendered round, scaled: every case shows the same scene."""
    source, capture = work / "rendered", work / f"capture-{case.frames}-{case.scale:g}"
    if len(list((source / "right").glob("*"))) < MOST_FRAMES:
        write_capture(
            source, CaptureSpec(frames=MOST_FRAMES, width=RENDERED_WIDTH, height=RENDERED_HEIGHT), workers=CORES
        )
    if not (capture / "prompt.json").is_file():
        step = MOST_FRAMES // case.frames
        resize_capture(
            source,
            capture,
            int(BASE_WIDTH * case.scale),
            int(BASE_HEIGHT * case.scale),
            frames=range(0, MOST_FRAMES, step),
        )
    return capture


def _section(record: dict) -> str:
    """The table in Markdown: stages as rows, runs as columns, and growth against the base run."""
    runs = [r for r in record["runs"] if r["exit_code"] == 0]
    base = next(r for r in runs if r["axis"] == "base")
    titles = [
        f"{r['frames']} frames, {BASE_WIDTH * r['scale']:.0f}x{BASE_HEIGHT * r['scale']:.0f}, {r['cores']} core(s)"
        for r in runs
    ]
    head = f"Built-in capture, profile `{record['profile']}`, {record['date']}, commit {record['commit']}, {record['machine']}."
    lines = [f"{head} Command: `make bench-scaling`.", "", _row("", titles), "|---|" + "---|" * len(runs)]
    lines.append(_row("wall time, s", [f"{r['wall_s']:.0f}" for r in runs]))
    lines.append(_row("growth of the work", [f"{_work(r) / _work(base):.2f}" for r in runs]))
    lines.append(_row("growth of the time", [f"{r['wall_s'] / base['wall_s']:.2f}" for r in runs]))
    lines.append(_row("peak memory, MB", [str(r["peak_memory_mb"]) for r in runs]))
    lines += [_row(f"{name}, s", [f"{r['stage_seconds'][name]:.1f}" for r in runs]) for name in base["stage_seconds"]]
    return "\n".join(lines)


def _row(title: str, cells: list[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def _work(row: dict) -> float:
    """Pixels per core: what the time is expected to follow."""
    return row["frames"] * row["scale"] ** 2 / row["cores"]


if __name__ == "__main__":
    sys.exit(main())
