"""How much faster than an older checkout: both reconstruct the same captures turn by turn, so that what else the machine does hits both.

    git worktree add ../before COMMIT
    make bench-speed ARGS="--old ../before --profile preview --rounds 3 [CAPTURE ...]"

Cold runs, each with a store of its own; kernels are compiled in one run of each checkout that does not count (--no-warm-up leaves it out).
Ratios are old over new of the same round; the table has their median, least and most. Core seconds are those of the run and of all it
started: on a busy machine they say more than the clock. Writes docs/benchmarks-speed.json and the table between the markers of
docs/benchmarks.md. With --rounds 1 and an interrupted list it goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench_pages import between_markers
from bench_run import ROOT, circumstances

from stages.core.metrics import evaluate

CAPTURES = tuple(ROOT.parent / "shared" / "captures" / name for name in ("bottle_orbit", "drill_inhand"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*", type=Path, default=CAPTURES)
    parser.add_argument("--old", type=Path, required=True, help="folder of the older checkout")
    parser.add_argument("--profile", default="preview")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-warm-up", action="store_true")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "speed")
    parser.add_argument("--no-docs", action="store_true")
    args = parser.parse_args()
    trees, work = {"old": args.old.absolute(), "new": ROOT}, args.work.absolute()
    for which, tree in trees.items() if not args.no_warm_up else ():
        _run(tree, args.captures[0], args.profile, work / f"warm-up-{which}")
    runs = {c.name: [_round(trees, c, args.profile, work, number=k) for k in range(args.rounds)] for c in args.captures}
    record = {**circumstances(), "old": _commit(trees["old"]), "profile": args.profile, "captures": runs}
    print(_section(record))
    if not args.no_docs:
        (ROOT / "docs" / "benchmarks-speed.json").write_text(json.dumps(record, indent=1))
        between_markers(ROOT / "docs" / "benchmarks.md", "speed", _section(record))
    return 0


def _round(trees: dict[str, Path], capture: Path, profile: str, work: Path, number: int) -> dict[str, dict]:
    """One run of each checkout; the second goes first every other time. A run that was done before is taken."""
    order = list(trees) if number % 2 == 0 else list(trees)[::-1]
    return {
        which: _run(trees[which], capture, profile, work / f"{capture.name}-{profile}-{which}-{number}")
        for which in order
    }


def _run(tree: Path, capture: Path, profile: str, folder: Path) -> dict:
    """{"wall_s", "core_s", "chamfer_mm"} of a cold run of that checkout. Raises SystemExit where it fails."""
    done = folder / "figures.json"
    if done.is_file():
        return json.loads(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [
        sys.executable,
        "-P",
        "-m",
        "flows.cli",
        "reconstruct",
        str(capture),
        "--out",
        str(folder / "twin"),
        "--profile",
        profile,
    ]
    environment = {**os.environ, "TWIN_STORE": str(folder / "store"), "PYTHONPATH": str(tree)}
    before, started = _core_seconds(), time.perf_counter()
    with (folder / "log").open("w") as log:
        code = subprocess.run(
            command, env=environment, cwd=tree, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    figures = {
        "wall_s": round(time.perf_counter() - started, 1),
        "core_s": round(_core_seconds() - before, 1),
        "load": os.getloadavg()[0],
    }
    if code:
        raise SystemExit(
            f"{tree} failed on {capture.name} with exit code {code}:\n{(folder / 'log').read_text()[-2000:]}"
        )
    figures["chamfer_mm"] = _chamfer_mm(capture, folder / "twin")
    shutil.rmtree(folder / "store", ignore_errors=True)
    done.write_text(json.dumps(figures))
    return figures


def _core_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def _chamfer_mm(capture: Path, twin: Path) -> float | None:
    return (
        round(evaluate(capture, twin)["surface_pose_aligned"]["chamfer_mm"], 3)
        if (capture / "gt/mesh.ply").is_file()
        else None
    )


def _commit(tree: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=False
    ).stdout.strip()


def _section(record: dict) -> str:
    head = f"Profile `{record['profile']}`, {record['date']}, {record['old']} against {record['commit']}, {record['machine']}."
    loads = [run["load"] for rounds in record["captures"].values() for pair in rounds for run in pair.values()]
    lines = [
        f"{head} Command: `make bench-speed`. Load during the runs: {min(loads):.1f} to {max(loads):.1f}.",
        "",
        "| capture | rounds | core seconds, old | new | ratio (least to most) | wall s, old | new | ratio (least to most) "
        "| chamfer mm, old | new |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in record["captures"].items():
        cells = [name, str(len(rounds))]
        for key in ("core_s", "wall_s"):
            old, new = ([pair[which][key] for pair in rounds] for which in ("old", "new"))
            ratios = [a / b for a, b in zip(old, new, strict=True)]
            cells += [
                f"{median(old):.0f}",
                f"{median(new):.0f}",
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        cells += [f"{rounds[0][which]['chamfer_mm']}" for which in ("old", "new")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
