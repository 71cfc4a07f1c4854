"""Measures the whole pipeline: reconstructs captures from an empty store, scores each twin, writes docs/benchmarks.md and pictures.

    python tools/bench.py [--data ../shared] [--captures bottle_orbit ...] [--profile standard] [--work FOLDER] [--keep] [--no-docs]

Every figure in the README and in docs/benchmarks.md comes from here. A capture with gt/ is scored by `stages.core.metrics`; the real
turntable capture by its known rotation. Times are wall seconds of one run on the named machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from bench_pages import render_page
from bench_pictures import comparison_pictures

from stages.core.metrics import evaluate
from stages.core.turntable import turntable_scores

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ("bottle_orbit", "drill_inhand", "liver_phantom_rotation")
DEGREES_PER_FRAME = {"liver_phantom_rotation": 1.0}
HOLD_OUT_EVERY = 8


def main() -> int:
    args = _arguments()
    work = Path(args.work).absolute()
    results = [_measure(Path(args.data) / "captures" / name, args.profile, work, args.settings) for name in args.captures]
    record = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": _machine(),
        "commit": _commit(),
        "profile": args.profile,
        "runs": results,
    }
    (work / "bench.json").write_text(json.dumps(record, indent=1))
    if not args.no_docs:
        if args.profile == "standard":
            comparison_pictures(record, ROOT / "docs" / "pictures")
        (ROOT / "docs" / f"benchmarks-{args.profile}.json").write_text(json.dumps(_for_the_page(record), indent=1))
        render_page(ROOT / "docs")
    for run in results:
        print(json.dumps({k: run[k] for k in ("capture", "wall_s", "peak_memory_mb", "scores")}, indent=1))
        if not args.keep:
            shutil.rmtree(run["twin"], ignore_errors=True)
    return 0 if all(r["exit_code"] == 0 for r in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(ROOT.parent / "shared"), help="folder with captures/")
    parser.add_argument("--captures", nargs="*", default=CAPTURES)
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--work", default=str(ROOT / "build" / "bench"), help="store, twins and logs go here")
    parser.add_argument("--keep", action="store_true", help="keep the twin folders")
    parser.add_argument("--no-docs", action="store_true", help="measure only, leave docs/ alone")
    parser.add_argument("settings", nargs="*", help="STAGE.KEY=VALUE passed on to twin reconstruct")
    return parser.parse_args()


def _measure(capture: Path, profile: str, work: Path, settings: list[str]) -> dict:
    """One cold run, timed and scored; then the texture once more with frames held out."""
    out, store = work / "twins" / f"{capture.name}-{profile}", work / "stores" / f"{capture.name}-{profile}"
    for folder in (out, store):
        shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "flows.cli", "reconstruct", str(capture), "--out", str(out), "--profile", profile, *settings]
    started = time.perf_counter()
    log = work / f"{capture.name}-{profile}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        code = subprocess.run(
            command, env={**os.environ, "TWIN_STORE": str(store)}, stdout=stream, stderr=subprocess.STDOUT, check=False
        ).returncode
    wall = time.perf_counter() - started
    if code != 0:
        return {
            "capture": capture.name,
            "exit_code": code,
            "wall_s": wall,
            "peak_memory_mb": None,
            "twin": str(out),
            "scores": {"log": log.read_text()[-2000:]},
        }
    run = json.loads((out / "run.json").read_text())
    run["held_out"] = _held_out(command, store, work)
    scores = evaluate(capture, out) if (capture / "gt").is_dir() else turntable_scores(out, DEGREES_PER_FRAME[capture.name])
    shutil.rmtree(store, ignore_errors=True)
    return {
        "capture": capture.name,
        "exit_code": code,
        "wall_s": round(wall, 1),
        "peak_memory_mb": _peak(run),
        "twin": str(out),
        "run": run,
        "scores": scores,
        "source": str(capture),
    }


def _for_the_page(record: dict) -> dict:
    """Without this machine's paths and without what the page does not show."""
    keep = ("capture", "exit_code", "wall_s", "peak_memory_mb", "scores")
    runs = []
    for run in record["runs"]:
        stages = {n: {k: s[k] for k in ("seconds", "peak_memory_mb", "method")} for n, s in run.get("run", {}).get("stages", {}).items()}
        held_out = run.get("run", {}).get("held_out", {})
        runs.append({**{k: run[k] for k in keep}, "run": {"stages": stages, "held_out": held_out}})
    return {**record, "runs": runs}


def _held_out(command: list[str], store: Path, work: Path) -> dict:
    """Texture figures on every HOLD_OUT_EVERY-th frame, left out of surface and texture; the earlier stages come from the store."""
    out = work / "held_out"
    every = [f"surface.hold_out={HOLD_OUT_EVERY}", f"texture.hold_out={HOLD_OUT_EVERY}"]
    again = [str(out) if before == "--out" else word for before, word in zip(["", *command], command, strict=False)]
    subprocess.run([*again, *every], env={**os.environ, "TWIN_STORE": str(store)}, stdout=subprocess.DEVNULL, check=True)
    metrics = json.loads((out / "run.json").read_text())["stages"]["texture"]["metrics"]
    shutil.rmtree(out)
    return metrics


def _peak(run: dict) -> int:
    return max(int(stage["peak_memory_mb"]) for stage in run["stages"].values())


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory} GiB, Python {platform.python_version()}"


def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
