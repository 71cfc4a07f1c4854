"""Measures the whole pipeline: reconstructs captures from an empty store, scores each twin, writes docs/benchmarks.md and pictures.

    python tools/bench.py [--data ../shared] [--captures bottle_orbit ...] [--profile standard] [--work FOLDER] [--keep] [--no-docs]

Every figure in the README and in docs/benchmarks.md comes from here. A capture with gt/ is scored by `stages.core.metrics`; the real
turntable capture by its known rotation. Times are wall seconds of one run on the named machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from bench_pages import render_page
from bench_pictures import comparison_pictures
from bench_run import ROOT, circumstances, reconstruct

from stages.core.metrics import evaluate
from stages.core.turntable import turntable_scores

CAPTURES = ("bottle_orbit", "drill_inhand", "liver_phantom_rotation")
DEGREES_PER_FRAME = {"liver_phantom_rotation": 1.0}
HOLD_OUT_EVERY = 8


def main() -> int:
    args = _arguments()
    work = Path(args.work).absolute()
    results = [
        _measure(Path(args.data) / "captures" / name, args.profile, work, args.settings) for name in args.captures
    ]
    record = {**circumstances(), "profile": args.profile, "runs": results}
    work.mkdir(parents=True, exist_ok=True)
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
    """One cold run, timed and scored; then surface and texture once more with frames held out."""
    out, store = work / "twins" / f"{capture.name}-{profile}", work / "stores" / f"{capture.name}-{profile}"
    for folder in (out, store):
        shutil.rmtree(folder, ignore_errors=True)
    timed = reconstruct(capture, out, store, profile, settings=settings)
    record = {
        "capture": capture.name,
        "exit_code": timed.exit_code,
        "wall_s": timed.wall_s,
        "peak_memory_mb": timed.peak_memory_mb,
        "twin": str(out),
        "source": str(capture),
        "run": timed.run,
    }
    if timed.exit_code != 0:
        return {**record, "scores": {"log": timed.log.read_text()[-2000:]}}
    record["run"]["held_out"] = _held_out(capture, profile, store, work, settings=settings)
    scores = (
        evaluate(capture, out) if (capture / "gt").is_dir() else turntable_scores(out, DEGREES_PER_FRAME[capture.name])
    )
    shutil.rmtree(store, ignore_errors=True)
    return {**record, "scores": scores}


def _for_the_page(record: dict) -> dict:
    """Without this machine's paths and without what the page does not show."""
    keep = ("capture", "exit_code", "wall_s", "peak_memory_mb", "scores")
    runs = []
    for run in record["runs"]:
        stages = {
            n: {k: s[k] for k in ("seconds", "peak_memory_mb", "method")}
            for n, s in run.get("run", {}).get("stages", {}).items()
        }
        held_out = run.get("run", {}).get("held_out", {})
        runs.append({**{k: run[k] for k in keep}, "run": {"stages": stages, "held_out": held_out}})
    return {**record, "runs": runs}


def _held_out(capture: Path, profile: str, store: Path, work: Path, settings: list[str]) -> dict:
    """Texture figures on every HOLD_OUT_EVERY-th frame, left out of surface and texture; the earlier stages come from the store."""
    out = work / "held_out"
    timed = reconstruct(
        capture,
        out,
        store,
        profile,
        settings=[*settings, *(f"{stage}.hold_out={HOLD_OUT_EVERY}" for stage in ("surface", "texture"))],
    )
    if timed.exit_code != 0:
        raise SystemExit(f"the run with frames held out failed; see {timed.log}")
    shutil.rmtree(out)
    return timed.run["stages"]["texture"]["metrics"]


if __name__ == "__main__":
    sys.exit(main())
