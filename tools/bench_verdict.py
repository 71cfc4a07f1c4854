"""Compares verdicts and expected errors with the truth, on captures that have gt/.

    python -m tools.bench_verdict CAPTURE ... [--first 0,20,4] [--work FOLDER] [--profile standard] [--threads 0] [--no-docs]

Each capture is run whole (0) and cut to its first frames, as captures go wrong in practice. A case that is done is not run again. Writes
WORK/<case>.json and the table of docs/benchmarks.md. Several captures of `make bench-robustness` make it a calibration.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from stages.core.metrics import evaluate
from tools.bench_run import ROOT
from tools.verdict_table import page

BEGIN, END = "<!-- verdict:start -->", "<!-- verdict:end -->"


def main() -> int:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    for capture in args.captures:
        for first in args.first:
            run_case(capture.resolve(), first, args)
    results = [json.loads(p.read_text()) for p in sorted(args.work.glob("*.json"))]
    text = page(results)
    print(text)
    if not args.no_docs:
        write_between(ROOT / "docs/benchmarks.md", text)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*", type=Path, metavar="CAPTURE")
    parser.add_argument(
        "--first", type=lambda t: [int(x) for x in t.split(",")], default=[0, 4], help="frames; 0 = all"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "verdict")
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-docs", action="store_true")
    return parser.parse_args()


def run_case(capture: Path, first: int, args: argparse.Namespace) -> None:
    """Run, score and write one case, unless it is done. A run that stops with a reason is a case too: it claims nothing."""
    name = capture.name + (f"-first{first}" if first else "")
    result, folder = args.work / f"{name}.json", args.work / name
    if result.exists():
        return
    source = cut(capture, folder / "capture", first) if first else capture
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(source),
        "--out",
        str(folder / "twin"),
        "--no-prefect",
    ]
    command += ["--profile", args.profile, "--threads", str(args.threads)]
    environment = {**os.environ, "TWIN_STORE": str(args.work / "store"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found: dict[str, Any] = {
        "case": name,
        "profile": args.profile,
        "exit_code": done.returncode,
        "said": done.stderr[-400:],
    }
    if done.returncode == 0:
        record = json.loads((folder / "twin/run.json").read_text())
        found |= {
            "verdict": record["verdict"],
            "scores": evaluate(capture, folder / "twin"),
            "size_mm": true_size_mm(capture),
        }
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1))
    partial.replace(result)
    print(f"{name}: {found.get('verdict', {}).get('line', found['said'])}", file=sys.stderr)


def cut(capture: Path, out: Path, first: int) -> Path:
    """The capture's first frames as a capture of their own; linked, not copied, without the truth."""
    for side in ("left", "right"):
        (out / side).mkdir(parents=True, exist_ok=True)
        for path in sorted((capture / side).iterdir())[:first]:
            target = out / side / path.name
            if not target.exists():
                os.link(path, target) if path.stat().st_dev == out.stat().st_dev else target.write_bytes(
                    path.read_bytes()
                )
    for path in capture.iterdir():
        if path.is_file() and path.name != "READY":
            (out / path.name).write_bytes(path.read_bytes())
    return out


def true_size_mm(capture: Path) -> float:
    """Longest side of the box round the true object."""
    import trimesh

    return 1000 * float(trimesh.load(capture / "gt/mesh.ply", process=False, force="mesh").extents.max())


def write_between(path: Path, text: str) -> None:
    """Replace what stands between the two marks."""
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    sys.exit(main())
