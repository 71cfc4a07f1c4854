"""Measures what operating through Prefect costs and survives, with real servers, workers and tiny real captures.

    python -m tools.bench_operations [--only overhead served ready cancel kills nights batch] [--captures 100] [--runs 1] [--work FOLDER]
                                     [--no-docs]

Each measurement starts `twin serve` on free ports in an empty folder and stops it. Results go to docs/benchmarks-operations.json and into
the section "Measured" of docs/operating.md. All take about 15 minutes on 2 cores; the batch as long as its captures do.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from tools.bench_run import ROOT, circumstances
from tools.operations.batch import measure_batch
from tools.operations.bed import Bed
from tools.operations.kills import measure_kills
from tools.operations.nights import measure_nights
from tools.operations.overhead import measure_overhead
from tools.operations.page import write_section
from tools.operations.reactions import measure_cancel, measure_ready
from tools.operations.served import measure_served

RESULTS = ROOT / "docs" / "benchmarks-operations.json"
KINDS = ("overhead", "served", "ready", "cancel", "kills", "nights", "batch")
PAGE = ROOT / "docs" / "operating.md"


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is stopped
    work = Path(args.work).absolute()
    work.mkdir(parents=True, exist_ok=True)
    bed = Bed(work)
    measures = {
        "overhead": lambda: measure_overhead(bed),
        "served": lambda: measure_served(bed),
        "ready": lambda: measure_ready(bed),
        "cancel": lambda: measure_cancel(bed),
        "kills": lambda: measure_kills(bed),
        "nights": lambda: measure_nights(bed),
        "batch": lambda: measure_batch(bed, args.captures, _runs(args.runs)),
    }
    for name in args.only or measures:
        found = {**circumstances(), **measures[name]()}
        print(json.dumps({name: found}, indent=1), flush=True)
        (work / f"{name}.json").write_text(json.dumps(found, indent=1))
        if not args.no_docs:
            _into_the_docs(name, found)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=KINDS, help="default: all")
    parser.add_argument("--captures", type=int, default=100, help="of the batch; one of them is bad")
    parser.add_argument("--runs", default="1", help="captures of the batch at once, or auto")
    parser.add_argument(
        "--work", default=str(ROOT / "build" / "operations"), help="stores, captures, logs and results go here"
    )
    parser.add_argument("--no-docs", action="store_true", help="measure only, leave docs/ alone")
    return parser.parse_args()


def _runs(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _into_the_docs(name: str, found: dict[str, Any]) -> None:
    """One measurement replaces its former self; the page is written anew from all."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[name] = found
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    write_section(known, PAGE)


if __name__ == "__main__":
    sys.exit(main())
