"""Draws captures by seed, runs them and judges each good, honest or wrong.

    python -m tools.bench_robustness [--seeds 0-59] [--work FOLDER] [--jobs 2] [--frames 20] [--width 640]

Runs go to `bundle`, every fourth seed to the twin. Each seed's result is written when it is done; a rerun goes on with those that are
missing or were computed by other sources. `--keep` keeps the stores, so that `--from masks` then computes masks and what follows only.
WORK/summary.md says what came out; `--summary` only writes it again from what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.bench_run import ROOT, circumstances, commit
from tools.robustness.draw import GENERATOR
from tools.robustness.one_seed import How, Places, run_seed
from tools.robustness.summary import by_property, count, page, trust_against_J

SOURCES = ("flows", "stages", "configs", "tools/robustness", "tools/capture_rendering")


def main() -> int:
    args = _arguments()
    places = Places(args.captures or args.work / "captures", args.work)
    code = code_digest()
    if args.one is not None:
        run_seed(args.one, places, _how(args), {"code": code, "commit": commit()})
        return 0
    if not args.summary:
        _run_all(
            [s for s in args.seeds if args.again or args.start_from or not _is_done(places, s, code, _how(args))], args
        )
    results = [_read(places, s) for s in args.seeds if places.result(s).exists()]
    _write_summary(args, results)
    print("\n\n".join((by_property(results), trust_against_J(results), count(results))))
    return 0 if len(results) == len(args.seeds) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("0-59"), help="such as 0-59 or 3,7,12-19")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "robustness", help="results and stores go here")
    parser.add_argument("--captures", type=Path, help="rendered captures; default: WORK/captures")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, a thread each")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--frames", type=int, default=How.frames)
    parser.add_argument("--width", type=int, default=How.width)
    parser.add_argument("--shape", default="", metavar="FILE", help="a mesh (z up) instead of the drawn shapes")
    parser.add_argument(
        "--twin-every", type=int, default=How.twin_every, help="every which seed goes on to the twin; 0 = none"
    )
    parser.add_argument(
        "--from", dest="start_from", default="", metavar="STAGE", help="what comes before is taken from kept stores"
    )
    parser.add_argument("--keep", action="store_true", help="keep the stores")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--summary", action="store_true", help="only write the summary again")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def seeds_of(text: str) -> list[int]:
    """ "0-3,7" -> [0, 1, 2, 3, 7]."""
    out = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return out


def code_digest() -> str:
    """Changes with everything that decides a result."""
    found = hashlib.sha256()
    for path in sorted(p for folder in SOURCES for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".yaml")):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def _how(args: argparse.Namespace) -> How:
    keep = args.keep or bool(args.start_from)
    return How(
        args.frames, args.width, args.threads, args.twin_every, start_from=args.start_from, keep=keep, shape=args.shape
    )


def _run_all(seeds: list[int], args: argparse.Namespace) -> None:
    """Each seed in a process of its own; a line as each ends."""
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        for k, line in enumerate(pool.map(lambda seed: _apart(seed, args), seeds)):
            print(f"[{k + 1}/{len(seeds)}] {line}", flush=True)


def _apart(seed: int, args: argparse.Namespace) -> str:
    flags = [name for name, on in (("--keep", args.keep),) if on]
    flags += ["--from", args.start_from] if args.start_from else []
    flags += ["--captures", str(args.captures)] if args.captures else []
    flags += ["--shape", args.shape] if args.shape else []
    values = {
        "--one": seed,
        "--work": args.work,
        "--threads": args.threads,
        "--frames": args.frames,
        "--width": args.width,
        "--twin-every": args.twin_every,
    }
    command = [
        sys.executable,
        "-m",
        "tools.bench_robustness",
        *flags,
        *(str(x) for pair in values.items() for x in pair),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"seed {seed}: the benchmark failed\n{done.stderr.strip()}"
    found = _read(Places(args.work, args.work), seed)
    drawn, why = ", ".join(found["properties"].values()), "; ".join(found["reasons"])
    return f"seed {seed}: {found['verdict']}, {found['seconds']:.0f} s, {drawn}; {why}"


def _is_done(places: Places, seed: int, code: str, how: How) -> bool:
    """Whether the result is there, of the same capture, run in the same way by the same sources."""
    if not places.result(seed).exists():
        return False
    found, wanted = _read(places, seed), asdict(how)
    same = all(found["how"].get(name) == wanted[name] for name in ("frames", "width", "shape", "twin_every"))
    return same and (found["generator"], found["code"]) == (GENERATOR, code)


def _read(places: Places, seed: int) -> dict[str, Any]:
    return json.loads(places.result(seed).read_text())


def _write_summary(args: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    c = circumstances()
    commits = ", ".join(sorted({r["commit"] for r in results}))
    size = f"{args.frames} frames of {args.width} px width, generator {GENERATOR}"
    head = f"{c['date']}, commit {commits}, {c['machine']}. {size}. Command: `make bench-robustness`."
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "summary.md").write_text(page(results, head))


if __name__ == "__main__":
    sys.exit(main())
