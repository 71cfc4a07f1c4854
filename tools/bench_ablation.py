"""What each kind of evidence adds to the surface: the same capture with one of them off, everything before the surface from the store.

    make bench-ablation [ARGS="--captures bottle_orbit --work FOLDER"]

Writes docs/benchmarks-ablation.json and the table between the markers of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from bench_pages import between_markers
from bench_run import ROOT, circumstances

from flows.records.request import Reconstruction
from flows.run.run import Run
from stages.core.capture import capture_ref
from stages.core.metrics import evaluate
from stages.core.store import Store
from stages.core.twin import assemble_twin
from stages.graph import SOURCE

VARIANTS: dict[str, tuple[str, ...]] = {
    "all evidence (the default)": (),
    "without depth": ("surface.use_depth=false",),
    "without agreement of colours": ("surface.use_colour=false",),
    "without outlines": ("surface.use_outlines=false",),
    "without bundle-adjusted points": ("surface.use_points=false",),
    "smoothness / 3": ("surface.smooth=333",),
    "smoothness x 3": ("surface.smooth=3000",),
    "no neural field": ("surface.method=fusion",),
}
COLUMNS = {
    "chamfer mm": "chamfer_mm",
    "accuracy p95": "accuracy_p95_mm",
    "completeness p95": "completeness_p95_mm",
    "F 0.5 mm": "fscore_0.5mm",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared", help="folder with captures/")
    parser.add_argument("--captures", nargs="*", default=("bottle_orbit", "drill_inhand"))
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build" / "ablation",
        help="store and twins go here; a store that is there is used",
    )
    parser.add_argument("--no-docs", action="store_true")
    args = parser.parse_args()
    rows = [
        _measure(args.data / "captures" / name, title, args.work.absolute())
        for name in args.captures
        for title in VARIANTS
    ]
    record = {**circumstances(), "rows": rows}
    print(_section(record))
    if not args.no_docs:
        (ROOT / "docs" / "benchmarks-ablation.json").write_text(json.dumps(record, indent=1))
        between_markers(ROOT / "docs" / "benchmarks.md", "ablation", _section(record))
    return 0


def _measure(capture: Path, title: str, work: Path) -> dict:
    twin = work / "twin"
    request = Reconstruction(capture=str(capture), out=str(twin), until="surface", settings=VARIANTS[title])
    made = {SOURCE: capture_ref(capture, work / "store" / "digests")}
    with Run(request, Store(work / "store")) as run:
        for stage in run.stages:
            made |= run.compute(stage, {kind: made[kind] for kind in stage.inputs}).refs
    assemble_twin(twin, made, {})
    scores = evaluate(capture, twin)["surface_pose_aligned"]
    shutil.rmtree(twin)
    row = {"capture": capture.name, "variant": title, **{key: scores[key] for key in COLUMNS.values()}}
    print(json.dumps(row), flush=True)
    return row


def _section(record: dict) -> str:
    head = f"Profile `standard`, {record['date']}, commit {record['commit']}. Command: `make bench-ablation`."
    captures = list(dict.fromkeys(row["capture"] for row in record["rows"]))
    titles = [f"{capture}: {column}" for capture in captures for column in COLUMNS]
    lines = [head, "", f"| | {' | '.join(titles)} |", "|---|" + "---|" * len(titles)]
    for variant in VARIANTS:
        rows = {row["capture"]: row for row in record["rows"] if row["variant"] == variant}
        cells = [f"{rows[capture][key]:.3f}" for capture in captures for key in COLUMNS.values()]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
