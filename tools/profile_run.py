"""Where the time of a reconstruction goes: cores busy over time, and by stage and function a sampling profiler over every stage process.

    make profile [ARGS="--capture ../shared/captures/bottle_orbit --top 6 --profile preview"]

Two runs: the first one's cores over time, undisturbed (docs/pictures/profile-timeline.svg), the second one under the profiler.
Needs py-spy (extra `dev`). Seconds are processor time of all threads together, sampled 50 times a second while a thread runs; a compiled
kernel counts for the function that calls it. Writes docs/benchmarks-profile.json and the table between the markers of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench_pages import between_markers
from bench_run import ROOT, circumstances
from timeline import watch

RATE = 50
PY_SPY = Path(sys.executable).with_name("py-spy")
"""beside the interpreter: the environment need not be active"""
FRAME = re.compile(r"(?P<function>[^;]+?) \((?P<file>[^();]+?)(?::\d+)?\)$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", type=Path, default=ROOT.parent / "shared" / "captures" / "bottle_orbit")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "profile")
    parser.add_argument("--top", type=int, default=6, help="functions named per stage")
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--only", choices=("timeline", "functions"), help="default: both")
    parser.add_argument("--no-docs", action="store_true")
    args = parser.parse_args()
    work = args.work.absolute()
    if args.only != "timeline" and not PY_SPY.exists():
        raise SystemExit("py-spy is missing: pip install -e '.[dev]'")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if args.only != "functions":
        _timeline(args, work)
    if args.only != "timeline":
        _functions(args, work)
    return 0


def _timeline(args: argparse.Namespace, work: Path) -> None:
    (work / "timeline").mkdir()
    found = watch(args.capture, work / "timeline", "--profile", args.profile)
    record = {
        **circumstances(),
        "capture": args.capture.name,
        "profile": args.profile,
        "cores": found.cores,
        "stages": found.figures(),
    }
    print(_timeline_section(record))
    folder = work if args.no_docs else ROOT / "docs" / "pictures"
    (folder / "profile-timeline.svg").write_text(
        found.picture(f"cores busy, {args.capture.name}, profile {args.profile}")
    )
    if not args.no_docs:
        (ROOT / "docs" / "benchmarks-timeline.json").write_text(json.dumps(record, indent=1))
        between_markers(ROOT / "docs" / "benchmarks.md", "timeline", _timeline_section(record))


def _timeline_section(record: dict) -> str:
    head = f"{record['capture']}, profile `{record['profile']}`, {record['date']}, commit {record['commit']}, {record['machine']}."
    lines = [
        f"{head} Command: `make profile`. Not full: seconds in which less than 0.8 of the cores computed for it.",
        "",
        "| stage | seconds | core seconds | cores busy | not full, s |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {s['wall_s']:.1f} | {s['core_s']:.1f} | {s['cores_busy']:.2f} | {s['not_full_s']:.1f} |"
        for name, s in record["stages"].items()
    ]
    return "\n".join([*lines, "", "![Cores busy over time, by stage](pictures/profile-timeline.svg)"])


def _functions(args: argparse.Namespace, work: Path) -> None:
    stacks = _record(args.capture, work, args.profile)
    order = list(json.loads((work / "twin" / "run.json").read_text())["stages"])
    by_stage = {
        name: counts for name, counts in ((name, _by_stage(stacks).get(name, Counter())) for name in order) if counts
    }
    record = {
        **circumstances(),
        "capture": args.capture.name,
        "profile": args.profile,
        "stages": {n: _shares(c, args.top) for n, c in by_stage.items()},
    }
    print(_section(record))
    if not args.no_docs:
        (ROOT / "docs" / "benchmarks-profile.json").write_text(json.dumps(record, indent=1))
        between_markers(ROOT / "docs" / "benchmarks.md", "profile", _section(record))


def _record(capture: Path, work: Path, profile: str) -> list[tuple[list[str], int]]:
    """Stacks (outermost frame first) with the number of samples of each."""
    raw = work / "stacks.txt"
    profiler = [
        str(PY_SPY),
        "record",
        "--subprocesses",
        "--format",
        "raw",
        "--rate",
        str(RATE),
        "--output",
        str(raw),
        "--",
    ]
    twin = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(work / "twin"),
        "--profile",
        profile,
    ]
    with (work / "log").open("w") as log:
        subprocess.run(
            [*profiler, *twin],
            env={**os.environ, "TWIN_STORE": str(work / "store"), "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    lines = (line.rsplit(" ", 1) for line in raw.read_text().splitlines())
    return [(stack.split(";"), int(count)) for stack, count in lines]


def _by_stage(stacks: list[tuple[list[str], int]]) -> dict[str, Counter]:
    """Samples of each stage by the innermost function of ours."""
    counts: dict[str, Counter] = {}
    for frames, count in stacks:
        ours = [m for f in frames if (m := FRAME.search(f)) and "stages/" in m["file"]]
        owner = next((s for m in ours if (s := _stage_of(m["file"]))), None)
        if owner is not None:
            counts.setdefault(owner, Counter())[f"{_short(ours[-1]['file'])}: {ours[-1]['function']}"] += count
    return counts


def _stage_of(file: str) -> str | None:
    match = re.search(r"stages/(\w+)/", file)
    return match.group(1) if match and match.group(1) != "core" else None


def _short(file: str) -> str:
    return file[file.index("stages/") + len("stages/") :]


def _shares(counts: Counter, top: int) -> dict:
    return {
        "core_seconds": round(sum(counts.values()) / RATE, 1),
        "functions": [[name, round(n / RATE, 1)] for name, n in counts.most_common(top)],
    }


def _section(record: dict) -> str:
    head = f"{record['capture']}, profile `{record['profile']}`, {record['date']}, commit {record['commit']}, {record['machine']}."
    lines = [
        f"{head} Command: `make profile`.",
        "",
        "| stage | core seconds | of these, by function |",
        "|---|---|---|",
    ]
    for name, stage in record["stages"].items():
        functions = ", ".join(f"`{function}` {seconds:.1f}" for function, seconds in stage["functions"])
        lines.append(f"| {name} | {stage['core_seconds']:.1f} | {functions} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
