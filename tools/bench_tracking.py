"""Compares the methods of `track` on captures with truth: matches, inliers, pose accuracy, CPU seconds.

Writes docs/benchmarks-tracking.json and its table into docs/methods/tracking.md.

    python tools/bench_tracking.py [--data ../shared] [--captures ...] [--methods sift aliked xfeat:mutual ...] [--work FOLDER] [--no-docs]

rectify, depth and masks are computed once, into the store in the work folder, and shared by all methods. METHOD:MATCHER sets
track.matcher too. A method whose weights are not on this machine is left out, and said to be. CPU seconds (user and system)
are of `track` and `bundle` together, in a process of their own with the kernels compiled before.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_run import ROOT, circumstances

from stages.base import StageContext, run_stage
from stages.core.capture import capture_ref
from stages.core.config import resolve
from stages.core.errors import TwinError
from stages.core.frames import posed, read_poses
from stages.core.geometry.rigid import inverse, rotation_angle
from stages.core.store import ArtifactRef, Store
from stages.graph import SOURCE, stages

CAPTURES = ("bottle_orbit", "drill_inhand", "liver_phantom_rotation")
METHODS = ("sift", "aliked", "xfeat:mutual", "xfeat:lightglue")
DEGREES_PER_FRAME = {"liver_phantom_rotation": 1.0}
FIGURES = ("pair_matches_median", "pair_inliers_median", "pairs_linked", "loops", "points_median", "observations")
START, END = "<!-- bench-tracking -->", "<!-- /bench-tracking -->"
COLUMNS = (
    ("matches a pair", "pair_matches_median", "{:.0f}"),
    ("inliers a pair", "pair_inliers_median", "{:.0f}"),
    ("ADD AUC 5 mm", "add_auc_5mm", "{:.2f}"),
    ("rotation median, degrees", "rotation_median_deg", "{:.4f}"),
    ("worst frame", "worst", "{}"),
    ("observations", "observations", "{:,}"),
    ("CPU s", "cpu_s", "{:.0f}"),
)


def main() -> int:
    args = _arguments()
    if args.one:
        print(
            json.dumps(
                _measure(Path(args.data) / "captures" / args.one, args.methods[0], Path(args.work), args.threads)
            )
        )
        return 0
    rows = []
    for capture in args.captures:
        for method in args.methods:
            rows.append({"capture": capture, "method": method, **_apart(args, capture, method)})
            print(json.dumps(rows[-1]), flush=True)
    record = {**circumstances(), "rows": rows}
    (Path(args.work) / "tracking.json").write_text(json.dumps(record, indent=1))
    if not args.no_docs:
        (ROOT / "docs" / "benchmarks-tracking.json").write_text(json.dumps(record, indent=1) + "\n")
        _into_page(ROOT / "docs" / "methods" / "tracking.md", record)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(ROOT.parent / "shared"), help="folder with captures/")
    parser.add_argument("--captures", nargs="*", default=CAPTURES)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument(
        "--work", default=str(ROOT / "build" / "bench-tracking"), help="the store and the results go here"
    )
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-docs", action="store_true", help="measure only, leave docs/ alone")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _apart(args: argparse.Namespace, capture: str, method: str) -> dict:
    """`_measure` in a process of its own."""
    Path(args.work).mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        __file__,
        "--one",
        capture,
        "--methods",
        method,
        "--data",
        args.data,
        "--work",
        args.work,
    ]
    done = subprocess.run([*command, "--threads", str(args.threads)], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"not_measured": done.stderr.strip().splitlines()[-1] if done.stderr else f"exit code {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _measure(capture: Path, method: str, work: Path, threads: int) -> dict:
    """All figures of one method on one capture."""
    settings, made, context = _settings(capture, method), _upstream(capture, work), StageContext(threads=threads)
    run = {s.name: s for s in stages()}
    try:
        run["track"].check({k: made[k] for k in run["track"].inputs}, settings["track"])
    except TwinError as e:
        return {"not_measured": e.message}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        reports, cpu = {}, {}
        for name in ("track", "bundle"):
            out, before = Path(folder) / name, _cpu()
            out.mkdir()
            try:
                reports[name] = run[name].run({k: made[k] for k in run[name].inputs}, settings[name], out, context)
            except TwinError as e:
                return {"failed": e.message}
            cpu[f"cpu_{name}_s"] = round(_cpu() - before, 1)
            made |= {k: ArtifactRef(k, out / k, "") for k in run[name].outputs}
        rows = read_poses(made["poses.json"].path)
        figures = {k: reports["track"].metrics[k] for k in FIGURES}
        return {
            **figures,
            **cpu,
            "cpu_s": round(sum(cpu.values()), 1),
            "frames": len(rows),
            **_accuracy(capture, posed(rows)),
        }


def _settings(capture: Path, method: str) -> dict:
    name, _, matcher = method.partition(":")
    chosen = [f"track.method={name}", *([f"track.matcher={matcher}"] if matcher else [])]
    return resolve({s.name: s.Config for s in stages()}, "standard", capture / "twin.yaml", chosen).stages


def _upstream(capture: Path, work: Path) -> dict[str, ArtifactRef]:
    """What `track` reads, from the store, computed where it is not there yet."""
    store, settings = Store(work / "store"), _settings(capture, "auto")
    made = {SOURCE: capture_ref(capture, store.root / "digests")}
    for stage in stages():
        if stage.name in ("rectify", "depth", "masks"):
            made |= run_stage(stage, {k: made[k] for k in stage.inputs}, settings[stage.name], store).refs
    return made


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _accuracy(capture: Path, poses: dict) -> dict:
    """Against gt/, or the known steps of the rotation stage."""
    if capture.name in DEGREES_PER_FRAME:
        first, step = min(poses), DEGREES_PER_FRAME[capture.name]
        error = [
            abs(np.degrees(rotation_angle(inverse(poses[first]) @ poses[k])) - (k - first) * step)
            for k in poses
            if k != first
        ]
        return {
            "frames_posed": len(poses),
            "rotation_median_deg": float(np.median(error)),
            "worst": f"{np.max(error):.3f} degrees",
        }
    import trimesh

    from stages.core.camera import Rig
    from stages.core.metrics_geometry import SurfaceTruth, align_by_poses, pose_scores

    truth = capture / "gt"
    true = posed(read_poses(truth / "poses.json"))
    mesh = trimesh.load(truth / "mesh.ply", process=False, force="mesh")
    surface = SurfaceTruth.sample(mesh, true, Rig.load(capture / "calibration.json"), truth)
    seen = surface.points[surface.seen]
    scores = pose_scores(true, poses, align_by_poses(true, poses, seen), seen, frames=sorted(true))
    worst = "lost" if scores["add_max_mm"] is None else f"{scores['add_max_mm']:.3f} mm"
    return {k: scores[k] for k in ("frames_posed", "add_auc_5mm", "rotation_median_deg")} | {"worst": worst}


def _into_page(page: Path, record: dict) -> None:
    text = page.read_text()
    head, rest = text.split(START)
    page.write_text(f"{head}{START}\n{table(record)}\n{END}{rest.split(END)[1]}")


def table(record: dict) -> str:
    """The figures as Markdown."""
    lines = [f"`make bench-tracking`, {record['date']}, {record['machine']}.", ""]
    lines += [
        "| capture | method | frames | " + " | ".join(c[0] for c in COLUMNS) + " |",
        "|---|---|---|" + "---|" * len(COLUMNS),
    ]
    for row in record["rows"]:
        start = f"| {row['capture']} | {row['method']} |"
        if why := row.get("not_measured") or row.get("failed"):
            lines.append(
                f"{start} {'not measured' if 'not_measured' in row else 'failed'}: {why} |" + " |" * len(COLUMNS)
            )
            continue
        cells = [form.format(row[key]) if row.get(key) is not None else "" for _, key, form in COLUMNS]
        lines.append(f"{start} {row['frames_posed']}/{row['frames']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
